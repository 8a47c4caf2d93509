#!/usr/bin/env bash
# Prints the section of a version from CHANGELOG.md: packaging/release-notes.sh v1.2.3
set -euo pipefail
cd "$(dirname "$0")/.."

version=${1#v}
notes=$(awk -v heading="## [$version]" 'index($0, heading) == 1 {found = 1; next} /^## \[/ {found = 0} found' \
    CHANGELOG.md)
if [ -z "$notes" ]; then
    echo "CHANGELOG.md has no section for $version" >&2
    exit 1
fi
printf '%s\n' "$notes"
