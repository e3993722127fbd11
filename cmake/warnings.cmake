# The tree builds without a warning under these, with gcc and with clang.
set(PRUNE_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion
    -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual
    -Wwrite-strings -Wundef -Wvla -Wdouble-promotion -Wformat=2
    -Wimplicit-fallthrough)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  list(APPEND PRUNE_WARNINGS -Wlogical-op -Wduplicated-cond
       -Wduplicated-branches)
else()
  list(APPEND PRUNE_WARNINGS -Wmissing-variable-declarations)
endif()
add_compile_options(${PRUNE_WARNINGS})
if(PRUNE_WERROR)
  add_compile_options(-Werror)
endif()
