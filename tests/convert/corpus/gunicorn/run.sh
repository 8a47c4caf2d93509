#!/usr/bin/env bash
# Starts the site.
set -e
NAME="journal"
BASE=/srv/$NAME
cd "$BASE"
export JOURNAL_MODE=live
echo "Starting $NAME"
exec gunicorn app:app --name "$NAME" --workers 2 --user=nobody --bind="unix:$BASE/web.sock" \
    --log-level=debug --log-file=- --env JOURNAL=1 --no-sendfile 2>&1
