/* The machine code is asked for, as the user says it. */
#ifndef PRN_BACKENDS_LLVM_SPEC_H
#define PRN_BACKENDS_LLVM_SPEC_H

typedef struct prn_target_spec {
  const char *triple;   /* NULL: the machine this runs on */
  const char *march;    /* NULL, "native", or a CPU name as clang spells it */
  const char *features; /* "+a,-b" added to what march implies; may be NULL */
} prn_target_spec;

#endif
