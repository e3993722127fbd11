/* Random programs of one kernel, compiled in process and compared with a
 * reference in double precision.
 *
 * A maker draws a case: arrays and views of them (any order in memory, gaps,
 * offsets, repeats), weights with a mask, an operation as text, and what the
 * result must be. The driver compiles it for every CPU asked for and runs it
 * with several numbers of workers, which must give the same bits. Gaps hold
 * NaN, arrays end where memory ends, and what the result does not name must
 * stay as it was: a kernel that reads or writes past its views is found.
 *
 * A case follows from (kind, seed) alone. */
#ifndef PRN_TEST_FUZZ_FUZZ_H
#define PRN_TEST_FUZZ_FUZZ_H

#include "ir/op.h"
#include "ir/support/str.h"

enum { FUZZ_RANK = 6, FUZZ_ARRAYS = 24, FUZZ_CONSTANTS = 4, FUZZ_SYMBOLS = 4 };

/* A size and how the program writes it: a number, or a symbol. */
typedef struct fuzz_dim {
  int64_t n;
  char text[160];
} fuzz_dim;

typedef struct fuzz_array {
  int64_t count;
  float *data;
  bool output;
  double *want; /* of outputs; NaN: not to be touched */
} fuzz_array;

/* Elements of an array that an operand names. */
typedef struct fuzz_view {
  unsigned array;
  int rank;
  fuzz_dim dims[FUZZ_RANK], strides[FUZZ_RANK];
  int64_t offset;
  char name[16]; /* of the value, with % */
} fuzz_view;

/* A constant: data in row-major order, and which elements stay. */
typedef struct fuzz_constant {
  int rank;
  int64_t dims[FUZZ_RANK], count;
  prn_dtype dtype;
  float *data;         /* mask applied when read through the mask */
  unsigned char *keep; /* a byte for each element */
  bool masked;         /* by a mask; else the zeros are in the data */
} fuzz_constant;

typedef struct fuzz_case {
  uint64_t rng;
  int nr, lanes; /* of the target */
  const char *march;
  prn_strbuf ops, note;
  fuzz_array arrays[FUZZ_ARRAYS];
  unsigned num_arrays, num_views;
  fuzz_constant constants[FUZZ_CONSTANTS];
  unsigned num_constants;
  fuzz_dim symbols[FUZZ_SYMBOLS];
  unsigned num_symbols;
  double limit;                /* of the relative L2 error */
  const char *target, *caller; /* run elsewhere; or NULL */
} fuzz_case;

typedef struct fuzz_kind {
  const char *name;
  unsigned weight; /* how many cases of it, relative to others */
  void (*make)(fuzz_case *c);
} fuzz_kind;

extern const fuzz_kind fuzz_kinds[]; /* ends with a NULL name */

void fuzz_matmul(fuzz_case *c);
void fuzz_linear(fuzz_case *c);
void fuzz_conv(fuzz_case *c);
void fuzz_norm(fuzz_case *c);
void fuzz_softmax(fuzz_case *c);
void fuzz_attention(fuzz_case *c);
void fuzz_scatter(fuzz_case *c);
void fuzz_gather(fuzz_case *c);
void fuzz_sort(fuzz_case *c);

/* ---- chance ---- */
uint64_t fuzz_bits(fuzz_case *c);
/* One of [0, n). */
int64_t fuzz_below(fuzz_case *c, int64_t n);
bool fuzz_chance(fuzz_case *c, double p);
/* Of [-1, 1), never 0. */
float fuzz_value(fuzz_case *c);
/* A size in [1, most]: often small, or near a multiple of a vector. */
int64_t fuzz_size(fuzz_case *c, int64_t most);

/* ---- operands ---- */
/* A number, or with probability p a symbol of that value. */
fuzz_dim fuzz_number(int64_t n);
fuzz_dim fuzz_maybe_symbol(fuzz_case *c, int64_t n, double p);

enum fuzz_layout {
  FUZZ_ANY = 0,
  FUZZ_UNIT = 1,   /* stride 1 along the last dimension */
  FUZZ_REPEAT = 2, /* some dimensions may have stride 0 */
  FUZZ_OUTPUT = 4,
};
/* A new array and a view of it with these sizes. `fixed` leading dimensions
 * are the only ones that FUZZ_REPEAT may repeat; -1: all of them. */
fuzz_view fuzz_operand(fuzz_case *c, int rank, const fuzz_dim *dims,
                       unsigned layout, int fixed);
/* The same, its last `merged` dimensions lying as one. */
fuzz_view fuzz_operand_merged(fuzz_case *c, int rank, const fuzz_dim *dims,
                              unsigned layout, int fixed, int merged);
/* The element of v at index, in its array. */
int64_t fuzz_at(const fuzz_view *v, const int64_t *index);
static inline double fuzz_get(const fuzz_case *c, const fuzz_view *v,
                              const int64_t *index) {
  return (double)c->arrays[v->array].data[fuzz_at(v, index)];
}
/* What the reference says an output's element is. */
static inline void fuzz_want(fuzz_case *c, const fuzz_view *v,
                             const int64_t *index, double x) {
  c->arrays[v->array].want[fuzz_at(v, index)] = x;
}
/* Next index of a rank-dimensional space, last dimension first; false at the
 * end. */
bool fuzz_next(int rank, const fuzz_dim *dims, int64_t *index);

/* Memory of v's shape with elements of this type, row-major. */
void fuzz_memory(fuzz_case *c, const fuzz_view *v, const char *type,
                 const char *name);
/* The same, with v's elements in it. */
void fuzz_converted(fuzz_case *c, const fuzz_view *v, const char *type,
                    const char *name);

/* ---- weights ---- */
/* A constant of random values with a random pattern of zeros, seen as [rows,
 * cols] for the pattern: cols is the depth. */
fuzz_constant *fuzz_weights(fuzz_case *c, int rank, const int64_t *dims);
/* Makes the array's values integers of [0, 256), and the view bytes in memory
 * of their own: %q. */
void fuzz_to_bytes(fuzz_case *c, const fuzz_view *v);
/* Makes its values integers of [-128, 128). */
void fuzz_weights_to_bytes(fuzz_constant *w);
/* Value at a flat index, mask applied. */
static inline double fuzz_weight(const fuzz_constant *w, int64_t i) {
  return w->keep[i] ? (double)w->data[i] : 0;
}

/* ---- epilogues ---- */
typedef struct fuzz_epilogue {
  bool integer; /* it begins with an i32 */
  unsigned num_steps;
  struct {
    char what[12]; /* add, mul: with an extra operand; else a unary */
    int extra;     /* number among extras, or -1 */
  } steps[4];
  fuzz_view extras[4];
  unsigned num_extras;
} fuzz_epilogue;
/* Draws one for results of these sizes; extras are operands of that shape,
 * their last `merged` dimensions lying as one. */
void fuzz_epilogue_draw(fuzz_case *c, fuzz_epilogue *e, int rank,
                        const fuzz_dim *dims, int merged);
/* ", %v3, %v4" after the operands. */
void fuzz_epilogue_operands(fuzz_case *c, const fuzz_epilogue *e);
/* The end of a dictionary of attributes that the caller began, with the body
 * as the last one, and the block. */
void fuzz_epilogue_body(fuzz_case *c, const fuzz_epilogue *e);
double fuzz_epilogue_apply(const fuzz_case *c, const fuzz_epilogue *e,
                           const int64_t *index, double x);

/* ---- running ---- */
void fuzz_case_destroy(fuzz_case *c);
/* Compiles and runs; 0 when all is well, 1 with a report when not. save: file
 * for the program's text, or NULL. */
int fuzz_run(fuzz_case *c, const char *save);

#endif
