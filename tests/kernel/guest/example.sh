#!/bin/bash
# docs/examples/kernel/life.c, which docs/kernel.md quotes, does what the page says. (It is compiled outside: a guest has no
# compiler of its own.)
echo 1..1
if out=$(build/kernel/life 2>&1) && [[ $out == *$'\nok' ]]; then
  echo "ok 1 - the_example_of_the_guide_runs"
else
  echo "not ok 1 - the_example_of_the_guide_runs"
  sed 's/^/# /' <<< "$out"
  exit 1
fi
