#!/bin/sh
set -e
python manage.py migrate
exec uwsgi --http :8110 --chdir /srv/shop -w shop.wsgi:application --master --processes 2 \
    --threads 2 --harakiri 180 --post-buffering 1 --py-autoreload 2 --check-static /srv/shop/public
