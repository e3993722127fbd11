/* Dimension relations: which dimensions of an operator's operands and results
 * shrink together, as the `dims` column of its row says. Structured pruning
 * stands on this.
 *
 *   dims    = word | alt (";" alt)* ("|" name+ "=" attribute ("," ...)*)?
 *   word    = "elementwise"  all operands and results broadcast together
 *           | "axis"         as elementwise, but along the axes that `axis` or
 *                            `axes` names all elements are mixed, and a
 *                            reduction drops them or leaves size 1
 *           | "hook"         depends on attributes or contents: the analysis
 *                            knows the operator by name
 *           | "opaque"       nothing is known
 *   alt     = ("[" attribute "=" integer "]")? slots "->" slots
 *   slots   = SLOT ("^" attribute)? ":" dim* ("," ...)*
 *   dim     = factor | "(" factor+ ")"   a product, the first varies slowest
 *           | "*"  any number of dimensions, broadcast together from the right
 *           | "~"  any number of dimensions that are related to nothing
 *           | "_"  one such dimension
 *   factor  = name | integer
 *
 * Equal names are tied: removing one index removes it everywhere. A name that
 * no result has is summed over, so that removing an index at which one side is
 * zero changes nothing. "!" after a name, a product or "*" says that all
 * elements along it are mixed (a softmax, a mean): zeros are not neutral there.
 * "?" after a dim says that the operand may lack it. "^attribute" swaps the
 * last two dims when the attribute is not zero. "| name = attribute" says which
 * integer attribute holds the size of a factor, or of a product of factors.
 *
 * The first alternative whose condition holds and whose ranks fit the types is
 * meant; when none fits the operator is opaque. Slots that are not mentioned
 * are related to nothing. */
#ifndef PRN_IR_RELATION_H
#define PRN_IR_RELATION_H

#include "ir/op.h"

enum {
  PRN_RELATION_FACTORS = 4, /* in one product */
  PRN_RELATION_DIMS = 8,    /* of one slot */
  PRN_RELATION_SLOTS = 20,  /* of one alternative */
  PRN_RELATION_ALTS = 4,
  PRN_RELATION_NAMES = 16,
};

typedef enum prn_relation_word {
  PRN_RELATION_LIST,
  PRN_RELATION_ELEMENTWISE,
  PRN_RELATION_AXIS,
  PRN_RELATION_HOOK,
  PRN_RELATION_OPAQUE,
} prn_relation_word;

typedef enum prn_relation_kind {
  PRN_RELATION_PRODUCT, /* of one or more factors */
  PRN_RELATION_REST,    /* "*" */
  PRN_RELATION_FREE_REST,
  PRN_RELATION_FREE,
} prn_relation_kind;

typedef struct prn_relation_dim {
  prn_relation_kind kind;
  bool mixed, optional;
  uint32_t n;                           /* factors, slowest first */
  int32_t names[PRN_RELATION_FACTORS];  /* -1: a number */
  int64_t values[PRN_RELATION_FACTORS]; /* of numbers */
} prn_relation_dim;

typedef struct prn_relation_slot {
  bool is_result;
  uint32_t index; /* of the slot in the row */
  prn_str swap;   /* attribute, or empty */
  uint32_t n;
  prn_relation_dim dims[PRN_RELATION_DIMS];
} prn_relation_slot;

typedef struct prn_relation_alt {
  prn_str attr; /* of the condition, or empty */
  int64_t value;
  uint32_t n;
  prn_relation_slot slots[PRN_RELATION_SLOTS];
} prn_relation_alt;

/* An attribute that holds the product of the sizes of some names. */
typedef struct prn_relation_size {
  prn_str attr;
  uint32_t n;
  int32_t names[PRN_RELATION_FACTORS];
} prn_relation_size;

typedef struct prn_relation {
  prn_relation_word word;
  uint32_t num_alts, num_names;
  prn_relation_alt alts[PRN_RELATION_ALTS];
  prn_str names[PRN_RELATION_NAMES];
  prn_str attrs[PRN_RELATION_NAMES]; /* attribute with the size, or empty */
  uint32_t num_sizes;
  prn_relation_size sizes[PRN_RELATION_ALTS]; /* those, and products */
} prn_relation;

/* Parses the row's dims. NULL on success, otherwise what is wrong with the
 * row, which is our own mistake. */
const char *prn_relation_parse(const prn_op_info *info, prn_relation *out);

/* The alternative that fits op, or NULL (opaque). */
const prn_relation_alt *prn_relation_select(const prn_relation *r,
                                            const prn_op *op);

/* One dimension of a value against the relation. */
typedef struct prn_relation_place {
  const prn_relation_slot *slot;
  const prn_relation_dim *dim;
  int32_t axis; /* of the value */
  int32_t rest; /* in "*" or "~": counted from the right, from 0; else -1 */
} prn_relation_place;

/* The value of a slot: an operand or result of op, or NULL when absent. */
prn_value *prn_relation_value(const prn_relation_slot *s, const prn_op *op);
/* What axis `axis` of a value of rank `rank` is in the slot, swapped dims
 * taken into account; the ranks fit. */
prn_relation_place prn_relation_at(const prn_relation_slot *s, const prn_op *op,
                                   int32_t rank, int32_t axis);

/* The size of every name under alt, by the types and attributes of op; unknown
 * where nothing says it. False when two places disagree: then *where says
 * which. */
PRN_NODISCARD bool prn_relation_sizes(const prn_relation *r,
                                      const prn_relation_alt *alt,
                                      const prn_op *op, prn_dim *sizes,
                                      prn_relation_place *where);

#endif
