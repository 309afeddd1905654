#!/bin/sh
# Formatting and static analysis. Fails on the first kind of finding.
set -eu
cd "$(dirname "$0")/.."
for tool in clang-format cppcheck clang-tidy; do
    command -v "$tool" >/dev/null || { echo "lint: there is no $tool; scripts/install-deps.sh lint installs it" >&2; exit 2; }
done
echo "clang-format"
git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror
cmake --preset debug -G Ninja >/dev/null
echo "cppcheck"
cppcheck --project=build-debug/compile_commands.json --enable=warning,performance,portability --inline-suppr --error-exitcode=1 --quiet \
    --suppress=missingIncludeSystem --suppress=unknownEvaluationOrder --suppress=legacyUninitvar --suppress=invalidPointerCast -i tests
echo "clang-tidy"
git ls-files 'src/*.c' | grep -v '_neon\.c$' | xargs -P "$(nproc)" -n 1 clang-tidy -p build-debug --quiet
