"""Neither `app` nor `application` is here."""
