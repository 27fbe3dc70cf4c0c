#!/usr/bin/env bash
# Runs the scripts of findings/, or those that the arguments name, and fails if one of them fails.
set -uo pipefail
cd "$(dirname "$0")/../findings" || exit
failed=()

if [ $# -eq 0 ]; then
  for script in *.sh; do
    if [ "$script" != lib.sh ]; then set -- "$@" "${script%.sh}"; fi
  done
fi
for name in "$@"; do
  start=$SECONDS
  output="$(timeout 300 bash "$name.sh" 2>&1)" && result="ok    " || result=FAILED
  printf '%s  %-34s %3d s\n' "$result" "$name" $((SECONDS - start))
  while IFS= read -r line; do printf '        %s\n' "$line"; done <<< "$output"
  if [ "$result" = FAILED ]; then failed+=("$name"); fi
done

if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${#failed[@]} of $# findings: ${failed[*]}" >&2
  exit 1
fi
echo "all $# findings are as described"
