# Interesting: running the reproducer ends with a signal.
prune-opt --run-reproducer "$1" -o /dev/null 2> /dev/null
test $? -ge 128
