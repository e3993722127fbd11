/* The weights of a program as its code expects them. */
#ifndef PRN_IR_PACK_WEIGHTS_H
#define PRN_IR_PACK_WEIGHTS_H

#include "ir/op.h"

typedef void prn_weights_fn(void *user, const void *data, size_t size);

/* Of the variants of one program, which share what is the same for them. */
typedef struct prn_weights {
  prn_op *const *funcs;
  size_t num;
} prn_weights;

/* Gives the constants of all variants places among the same weights: equal
 * ones that are packed alike get one. */
void prn_weights_share(const prn_weights *w);
int64_t prn_weights_size(const prn_op *func);
/* Streams all of them: packed, masks applied, exactly prn_weights_size bytes.
 * Holds one panel in memory at most. */
void prn_weights_write(const prn_weights *w, prn_weights_fn *write, void *user);

#endif
