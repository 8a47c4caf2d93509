#!/usr/bin/env bash
# Checks before a release that the tag, Cargo.toml and CHANGELOG.md have the same version.
#
#   TAG=v1.2.3 packaging/check-release.sh
#
# Without a tag it checks nothing: the release workflow then only builds.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -n "${TAG:-}" ] || { echo "no tag: nothing is published"; exit 0; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
if [ "$TAG" != "v$version" ]; then
    echo "the tag is $TAG, but Cargo.toml has version $version" >&2
    exit 1
fi
if ! grep -qE "^## \[$version\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md; then
    echo "CHANGELOG.md has no section '## [$version] - YYYY-MM-DD'" >&2
    exit 1
fi
echo "$TAG: the versions agree"
