/* A number that tells models apart: what is stored about one model names it by
 * this number, so that it is not used with another. */
#ifndef PRN_IR_FINGERPRINT_H
#define PRN_IR_FINGERPRINT_H

#include "ir/op.h"

/* Of the operations, how they are connected, their attributes, and the names
 * and types of constants; the data of constants, and with it masks and claims
 * about zeros, does not count, nor do sizes of inputs, names of nodes,
 * documentation, or what other values are called. The same on every machine,
 * and for the text of a model as for its ONNX file.
 *
 * Of the metadata one entry counts: that channels were put in another order,
 * and which. */
uint64_t prn_module_fingerprint(const prn_module *m);

/* The key of that entry. */
#define PRN_ORDER_KEY "prune.order"

/* Notes in the model's metadata that values have their channels in another
 * order than before, which the number stands for. */
void prn_module_note_order(prn_module *m, uint64_t order);

#endif
