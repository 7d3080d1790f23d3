#!/usr/bin/env bash
# Checks what reviewers should not have to: format, file length, leftovers, and clang-tidy over what changed since it
# last passed (a stamp per source under BUILD/lint). Prints every finding; exits 1 if there is any.
# usage: tools/lint.sh [BUILD]      LINT_SECONDS (default 600) bounds clang-tidy, which says what it did not reach.
set -uo pipefail

build=${1:-build}
seconds=${LINT_SECONDS:-600}
max_lines=600
failed=0
report() { echo "lint: $*" >&2; failed=1; }

mapfile -t sources < <(git ls-files --cached --others --exclude-standard -- '*.cpp' '*.h' '*.hpp' | sort)
mapfile -t text < <(git ls-files --cached --others --exclude-standard -- \
  '*.cpp' '*.h' '*.hpp' '*.c' '*.py' '*.sh' '*.cmake' '*.txt' '*.md' '*.proto' '*.fbs' '*.toml' '*.conf' '*.in' Makefile .ci/run)

mapfile -t formatted < <(printf '%s\n' "${sources[@]}" | grep -v '^kernel/')
clang-format --dry-run -Werror "${formatted[@]}" || report "format: run clang-format -i on the files above"

mapfile -t measured < <(git ls-files --cached --others --exclude-standard -- '*.c' "${sources[@]}" | sort -u)
for file in "${measured[@]}"; do
  lines=$(wc -l <"$file")
  [[ $lines -le $max_lines ]] || report "$file has $lines lines (limit $max_lines): look for the second idea in it"
done

# Spelt with brackets so that this file does not find itself.
leftovers='\b(TO[D]O|FIX[M]E|X[X]X)\b|GTEST_SK[I]P|DISABL[E]D_[A-Z][a-z]'
grep -nE "$leftovers" "${text[@]}" && report "unfinished work or a switched-off test (above)"
machine='(^|[^a-z.])/(ho[m]e|wo[r]k|ro[o]t)/|/t[m]p/[a-z]|--(extra-)?index-u[r]l'
grep -nE "$machine" "${text[@]}" && report "a path of one machine or a package index (above)"

if [[ ! -f $build/compile_commands.json ]]; then
  report "no $build/compile_commands.json: run make build first"
  exit 1
fi
mkdir -p "$build/lint"
mapfile -t headers < <(printf '%s\n' "${sources[@]}" | grep -E '\.(h|hpp)$')
common=$(cat .clang-tidy "${headers[@]}" | sha256sum | cut -c1-16)

tidy_one() {  # file, stamp
  clang-tidy --quiet -p "$build" "$1" 2>/dev/null && touch "$2"
}
export -f tidy_one
export build

todo=()
for file in "${sources[@]}"; do
  [[ $file == *.cpp ]] && grep -q "/$file\"" "$build/compile_commands.json" || continue
  stamp=$build/lint/$(sha256sum <"$file" | cut -c1-16)-$common
  [[ -f $stamp ]] || todo+=("$file" "$stamp")
done
if [[ ${#todo[@]} -gt 0 ]]; then
  echo "lint: clang-tidy on $((${#todo[@]} / 2)) sources" >&2
  timeout "$seconds" xargs -a <(printf '%s\0' "${todo[@]}") -0 -n 2 -P "$(nproc)" bash -c 'tidy_one "$@"' _
  status=$?
  if [[ $status -eq 124 ]]; then
    left=0
    for ((i = 1; i < ${#todo[@]}; i += 2)); do [[ -f ${todo[i]} ]] || left=$((left + 1)); done
    report "clang-tidy stopped after $seconds s with $left sources left; run make lint again to go on"
  elif [[ $status -ne 0 ]]; then
    report "clang-tidy found something (above)"
  fi
fi
exit $failed
