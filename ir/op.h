/* Operations, values, blocks, modules.
 *
 * A module is a list of top-level operations (onnx.graph, onnx.function,
 * nn.func, mem.func). An operation has operands (any may be absent), results,
 * ordered attributes and nested blocks. A block has arguments and operations
 * in order; the last is a terminator. Values are in SSA form: defined once,
 * used after their definition, by operations of the same block or of blocks
 * nested in it.
 *
 * Everything is arena-allocated in the module and never freed before it;
 * erased operations are unlinked. One thread at a time. */
#ifndef PRN_IR_OP_H
#define PRN_IR_OP_H

#include "ir/op_info.h"

typedef struct prn_value prn_value;
typedef struct prn_block prn_block;
typedef struct prn_module prn_module;
typedef struct prn_use prn_use;

/* "onnx"."Conv", or "com.microsoft"."Attention". Uniqued per context. */
typedef struct prn_opname {
  prn_str dialect, name;
  prn_dialect dialect_bit;
  const prn_op_info *info; /* NULL when no table knows it */
  prn_opcode code;
} prn_opname;

/* One operand: a link in its value's list of uses. */
struct prn_use {
  prn_value *value; /* NULL: absent optional operand */
  prn_op *owner;
  prn_use *next, **prev; /* other uses of the same value, in no set order */
};

struct prn_value {
  const prn_type *type; /* never NULL; `none` marks an absent result */
  prn_str name;         /* interned; empty: unnamed */
  prn_op *def;          /* NULL for block arguments */
  prn_block *block;     /* of the argument, or of def */
  uint32_t index;       /* among results or arguments */
  uint32_t mark;        /* scratch for passes */
  prn_use *uses;
};

struct prn_op {
  const prn_opname *opname;
  prn_block *block; /* NULL when unlinked */
  prn_op *prev, *next;
  prn_loc loc;
  uint32_t num_operands, num_results, num_attrs, num_blocks;
  uint32_t cap_operands, cap_attrs, cap_blocks;
  uint32_t order; /* position in the block; see prn_op_is_before */
  uint32_t mark;  /* scratch for passes */
  prn_use *operands;
  prn_value *results; /* contiguous */
  prn_named_attr *attrs;
  prn_block **blocks;
  prn_module *module;
};

struct prn_block {
  prn_op *parent; /* NULL: the module's own block */
  prn_module *module;
  prn_op *first, *last;
  prn_value **args;
  uint32_t num_args, cap_args;
  bool order_valid;
};

struct prn_module {
  prn_ctx *ctx;
  prn_arena arena;
  prn_block *body;       /* top-level operations */
  const prn_attr *attrs; /* DICT: ir_version, producer, opset_import, ... */
  const char *file;      /* where it came from, for messages */
};

/* ---- module ---- */
prn_module *prn_module_create(prn_ctx *ctx);
/* Also done by prn_ctx_destroy for every module still alive. */
void prn_module_destroy(prn_module *m);
/* Dialects of all operations in the module, as a mask of prn_dialect. */
uint32_t prn_module_dialects(const prn_module *m);
/* The one mem.func of m; reports and fails when it has none, or two. */
PRN_NODISCARD prn_status prn_module_program(prn_module *m, prn_op **out);
/* Version of op's ONNX domain that the graph or function around it imports: 0
 * when it does not, the newest when nothing says what is imported. */
int64_t prn_op_opset(const prn_op *op);

/* ---- names ---- */
/* Uniqued; dialect "onnx" is the standard ONNX domain. */
const prn_opname *prn_opname_get(prn_ctx *ctx, prn_str dialect, prn_str name);
const prn_opname *prn_opname_code(prn_ctx *ctx, prn_opcode code);
static inline bool prn_op_is(const prn_op *op, prn_opcode code) {
  return op && op->opname->code == code;
}
static inline prn_opcode prn_op_code(const prn_op *op) {
  return op->opname->code;
}
static inline const prn_op_info *prn_op_info_of(const prn_op *op) {
  return op->opname->info;
}
bool prn_op_has_trait(const prn_op *op, uint32_t traits);

/* ---- building ---- */
/* An unlinked operation with operands (NULL entries are absent) and results of
 * the given types. */
prn_op *prn_op_create(prn_module *m, const prn_opname *name, prn_loc loc,
                      prn_value *const *operands, uint32_t num_operands,
                      const prn_type *const *result_types,
                      uint32_t num_results);
prn_block *prn_block_create(prn_module *m);
/* Appends a nested block; the op owns it from then on. */
void prn_op_add_block(prn_op *op, prn_block *block);
prn_value *prn_block_add_arg(prn_block *b, const prn_type *type, prn_str name);
/* The same before argument i; that and later ones move up. */
prn_value *prn_block_insert_arg(prn_block *b, uint32_t i, const prn_type *type,
                                prn_str name);
/* Removes argument i, which must be unused; later ones move down. */
void prn_block_remove_arg(prn_block *b, uint32_t i);
void prn_block_append(prn_block *b, prn_op *op);
void prn_op_insert_before(prn_op *op, prn_op *before);
void prn_op_insert_after(prn_op *op, prn_op *after);
/* Unlinks op from its block, keeping operands and results. */
void prn_op_unlink(prn_op *op);
/* Unlinks op and drops its operands, nested blocks included. Its results must
 * be unused. */
void prn_op_erase(prn_op *op);
/* Deep copy (nested blocks included), unlinked. map gives replacements of
 * operands: prn_value -> prn_value; results are added to it. */
prn_op *prn_op_clone(prn_module *m, const prn_op *op, prn_ptrmap *map);

/* What op defines loses its names, in nested blocks too: those of a copy would
 * be there twice. */
void prn_op_drop_names(prn_op *op);

/* ---- operands and results ---- */
prn_value *prn_op_operand(const prn_op *op, uint32_t i); /* NULL past the end */
void prn_op_set_operand(prn_op *op, uint32_t i, prn_value *v);
void prn_op_add_operand(prn_op *op, prn_value *v);
/* Drops operands from index n on. */
void prn_op_truncate_operands(prn_op *op, uint32_t n);
static inline prn_value *prn_op_result(const prn_op *op, uint32_t i) {
  return i < op->num_results ? &op->results[i] : NULL;
}
/* PRN_IN(op, onnx_Conv, W): operand by slot name, NULL when absent. */
#define PRN_IN(op, opname, field) prn_op_operand((op), PRN_SLOT(opname, field))
void prn_value_replace_uses(prn_value *from, prn_value *to);
static inline bool prn_value_has_uses(const prn_value *v) {
  return v->uses != NULL;
}
bool prn_value_has_one_use(const prn_value *v);
/* The index of this operand in its owner. */
uint32_t prn_use_index(const prn_use *u);

/* ---- attributes ---- */
const prn_attr *prn_op_attr(const prn_op *op, const char *name);
/* Replaces or appends; a NULL value removes. */
void prn_op_set_attr(prn_op *op, const char *name, const prn_attr *value);
/* The attribute, or its table default. */
int64_t prn_op_int(const prn_op *op, const char *name, int64_t dflt);
float prn_op_float(const prn_op *op, const char *name, float dflt);
prn_str prn_op_string(const prn_op *op, const char *name, const char *dflt);
/* The INTS attribute, or NULL with *n = 0. */
const int64_t *prn_op_ints(const prn_op *op, const char *name, size_t *n);
/* The nested block that the REGION attribute `name` stands for, or NULL. */
prn_block *prn_op_block(const prn_op *op, const char *name);
/* The tensor when v is a constant (PRN_CONSTANT op), else NULL. */
const prn_tensor *prn_value_constant(const prn_value *v);

/* Reports and fails unless the block of attribute `body`, if there is one, is
 * scalar code of the nn dialect with so many arguments and yielded values. */
PRN_NODISCARD prn_status prn_verify_scalar_body(prn_op *op, uint32_t args,
                                                uint32_t yields);

/* ---- order and walking ---- */
/* a comes before b in the block both are in. */
bool prn_op_is_before(prn_op *a, prn_op *b);
#define PRN_EACH_OP(op, block) \
  for (prn_op *op = (block)->first; op; op = op->next)
/* op may be erased or moved in the body. */
#define PRN_EACH_OP_SAFE(op, block)                                        \
  for (prn_op *op = (block)->first, *next_##op = op ? op->next : NULL; op; \
       op = next_##op, next_##op = op ? op->next : NULL)
#define PRN_EACH_USE(use, value) \
  for (prn_use *use = (value)->uses; use; use = use->next)
/* Calls fn on every op of the block and of nested blocks, outer first (pre) or
 * inner first. fn may erase the op it is given in post order. Stops and fails
 * when fn fails. */
PRN_NODISCARD prn_status prn_walk(prn_block *b, bool pre,
                                  prn_status (*fn)(void *user, prn_op *op),
                                  void *user);

/* ---- messages ---- */
/* "node 'name' (Conv)" for ONNX nodes, "'nn.conv'" otherwise; interned. */
prn_str prn_op_subject(const prn_op *op);
/* "'name'" or "result 0 of node ..."; interned. */
const char *prn_value_str(const prn_value *v);
/* Report at op's location. prn_op_error always returns PRN_FAIL. */
PRN_PRINTF(2, 3)
prn_status prn_op_error(const prn_op *op, const char *fmt, ...);
PRN_PRINTF(3, 4)
void prn_op_report(const prn_op *op, prn_severity severity, const char *fmt,
                   ...);
PRN_PRINTF(2, 3)
prn_status prn_module_error(const prn_module *m, const char *fmt, ...);

#endif
