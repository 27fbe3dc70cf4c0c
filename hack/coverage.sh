#!/usr/bin/env bash
# Prints the line coverage of the last unit and integration tests: each file below the mark, and each package.
set -euo pipefail
cd "$(dirname "$0")/.."
MARK=90
coverage=.venv/bin/coverage
"$coverage" combine --quiet
"$coverage" report | awk -v mark="$MARK" 'NF == 4 && $4 ~ /%$/ && $1 != "TOTAL" && $4 + 0 < mark'
for package in operator/keras_*; do
  printf '%-28s %s %%\n' "$package" "$("$coverage" report --include="$package/*" --format=total)"
done
printf '%-28s %s %%\n' "coverage of all lines" "$("$coverage" report --format=total)"
