/* What a dialect's operator table declares about each operator.
 *
 * An operator is declared once, in one row of a .def file (ir/onnx.def,
 * ir/nn.def, ir/mem.def):
 *
 *   OP(onnx, Gemm, 7, 0, "Y = alpha*A'*B' + beta*C.",
 *      IN(REQ(A, T, NUM) WEIGHT(B, T, NUM) OPT(C, T, NUM)),
 *      OUT(RES(Y, T)),
 *      ATTRS(ATTR(alpha, FLOAT, "1.0", "Scales the product.") ...),
 *      PRN_PURE, INFER(gemm), VERIFY(gemm),
 *      "A: m k, B: k n, C: m n -> Y: m n")
 *
 * The row yields the named operand slots (struct prn_in_onnx_Gemm), the
 * opcode, the verifier's arity, type and attribute checks, shape inference
 * (prn_infer_gemm), the operator-specific verifier (prn_verify_gemm), the
 * dimension relations, the text form, and the reference documentation.
 *
 * Columns: dialect, name, since, until (opset versions of the operator's
 * domain, until = first version that no longer has it, 0 = none), doc,
 * operands, results, attributes, traits, INFER(hook) or NO_INFER,
 * VERIFY(hook) or NO_VERIFY, dims (see ir/relation.h). Slots:
 *   REQ(name, type variable, class)   OPT(...)   WEIGHT(...)
 *   WEIGHT_OPT(...)   VAR(...)
 *   RES(...) RES_OPT(...) RESVAR(...) for results
 *   REQ_V OPT_V WEIGHT_OPT_V RES_OPT_V(name, var, class, since, until): only
 *   in those versions. Operand i is the i-th slot that is not gone; a slot
 *   that is yet to come keeps its place.
 * Attributes:
 *   ATTR(name, KIND, default text, doc)   "" means absent by default
 *   REQ_ATTR(name, KIND, doc)
 *   ATTR_V(name, KIND, default text, since, until, doc)
 *   REQ_ATTR_V(name, KIND, since, until, doc)
 * An attribute whose default or need changed has one row for each range of
 * versions.
 *
 * An operator of a foreign domain is a row too: its dialect is a token with an
 * entry among the NAME_ macros of ir/op_info.c (com_microsoft stands for
 * "com.microsoft"). */
#ifndef PRN_IR_OP_INFO_H
#define PRN_IR_OP_INFO_H

#include "ir/attr.h"

typedef struct prn_op prn_op;
typedef struct prn_infer prn_infer;

typedef enum prn_dialect {
  PRN_DIALECT_ONNX = 1u << 0, /* foreign ONNX domains too */
  PRN_DIALECT_NN = 1u << 1,
  PRN_DIALECT_MEM = 1u << 2,
} prn_dialect;

enum {
  PRN_PURE = 1u << 0,        /* no effect but its results: DCE, CSE, folding */
  PRN_ELEMENTWISE = 1u << 1, /* results broadcast the operands */
  PRN_TERMINATOR = 1u << 2,  /* ends a block */
  PRN_COMMUTATIVE = 1u << 3,
  PRN_RANDOM = 1u << 4,    /* not a function of its operands */
  PRN_CONSTANT = 1u << 5,  /* produces attr `value` */
  PRN_TOP_LEVEL = 1u << 6, /* graph, function: child of the module only */
  PRN_ISOLATED = 1u << 7,  /* blocks do not see values from outside */
  PRN_VIEW_LIKE = 1u << 8, /* moves or renames elements, computes nothing */
};

typedef enum prn_slot_kind {
  PRN_SLOT_END,
  PRN_SLOT_REQ,
  PRN_SLOT_OPT,
  PRN_SLOT_WEIGHT,     /* required, and usually a trained constant */
  PRN_SLOT_WEIGHT_OPT, /* optional, and usually a trained constant */
  PRN_SLOT_VAR,        /* last: any number */
} prn_slot_kind;

/* Which element types a slot takes. */
typedef enum prn_type_class {
  PRN_CLASS_ANY,    /* any value, containers included */
  PRN_CLASS_TENSOR, /* tensor of any element type */
  PRN_CLASS_NUM,    /* integers and floats, no bool, string, complex */
  PRN_CLASS_FLOAT,  /* f16 f32 f64 bf16 (and float8 where noted) */
  PRN_CLASS_INT,    /* integers */
  PRN_CLASS_I64,
  PRN_CLASS_INDEX, /* i32 or i64 */
  PRN_CLASS_BOOL,
  PRN_CLASS_STRING,
  PRN_CLASS_SEQ,      /* sequence */
  PRN_CLASS_NOSTRING, /* any tensor but strings */
  PRN_CLASS_I32,
  PRN_CLASS_F32,
  PRN_CLASS_U8,
  PRN_CLASS_BYTE,     /* i8 or ui8 */
  PRN_CLASS_OPTIONAL, /* optional */
} prn_type_class;

/* Type variables: slots with the same variable have the same element type. */
typedef enum prn_type_var {
  PRN_TV_ANY, /* unconstrained */
  PRN_TV_T,
  PRN_TV_T1,
  PRN_TV_T2,
  PRN_TV_T3,
} prn_type_var;

typedef struct prn_slot_info {
  const char *name;
  prn_slot_kind kind;
  prn_type_var var;
  prn_type_class cls;
  int32_t since, until; /* 0: as the operator */
} prn_slot_info;

typedef struct prn_attr_info {
  const char *name;
  prn_attr_kind kind;
  const char *dflt; /* text form; NULL: required; "": optional, no default */
  const char *doc;
  int32_t since, until;
} prn_attr_info;

typedef struct prn_op_info {
  const char *dialect, *name, *doc;
  prn_dialect dialect_bit;
  int32_t since, until;
  const prn_slot_info *in, *out; /* end with PRN_SLOT_END */
  const prn_attr_info *attrs;    /* end with NULL name */
  uint32_t traits;
  /* Sets result types from operand types and attributes; reports operand
   * shapes that cannot be. NULL: nothing can be inferred. */
  prn_status (*infer)(prn_infer *env, prn_op *op);
  /* Checks what the table cannot say. NULL: nothing more. */
  prn_status (*verify)(prn_op *op);
  /* Dimension relations, for structured pruning; see ir/relation.h. */
  const char *dims;
} prn_op_info;

/* Opcodes: PRN_OP_onnx_Conv, ... 0 is an operator no table knows. */
#define OP(dialect, name, ...) PRN_OP_##dialect##_##name,
typedef enum prn_opcode {
  PRN_OP_unknown,
#include "ir/ops.def"
  PRN_OP_count,
} prn_opcode;
#undef OP

/* Operand layouts: never instantiated, they only name operand slots. */
#define IN(...)                 __VA_ARGS__
#define NONE                    void *none_;
#define REQ(name, ...)          void *name;
#define OPT(name, ...)          void *name;
#define WEIGHT(name, ...)       void *name;
#define WEIGHT_OPT(name, ...)   void *name;
#define VAR(name, ...)          void *name;
#define REQ_V(name, ...)        void *name;
#define OPT_V(name, ...)        void *name;
#define WEIGHT_OPT_V(name, ...) void *name;
#define OP(dialect, name, since, until, doc, in, ...) \
  struct prn_in_##dialect##_##name {                  \
    in                                                \
  };
#include "ir/ops.def"
#undef OP
#undef IN
#undef NONE
#undef REQ
#undef OPT
#undef WEIGHT
#undef WEIGHT_OPT
#undef VAR
#undef REQ_V
#undef OPT_V
#undef WEIGHT_OPT_V

/* Hooks named in the tables. */
#define INFER(hook) prn_status prn_infer_##hook(prn_infer *env, prn_op *op);
#define NO_INFER
#define VERIFY(hook) prn_status prn_verify_##hook(prn_op *op);
#define NO_VERIFY
#define OP(dialect, name, since, until, doc, in, out, attrs, traits, infer, \
           verify, dims)                                                    \
  infer verify
#include "ir/ops.def"
#undef OP
#undef INFER
#undef NO_INFER
#undef VERIFY
#undef NO_VERIFY

/* Index of a named operand slot; a misspelt name does not compile. */
#define PRN_SLOT(opname, field) \
  ((uint32_t)(offsetof(struct prn_in_##opname, field) / sizeof(void *)))

/* By opcode; the entry for PRN_OP_unknown is all zero. */
extern const prn_op_info prn_op_infos[PRN_OP_count];

/* The row of dialect.name, or NULL. A row that was superseded by a later row
 * of the same name does not exist: one row covers all versions. */
const prn_op_info *prn_op_info_find(prn_str dialect, prn_str name);
static inline prn_opcode prn_op_info_code(const prn_op_info *info) {
  return info ? (prn_opcode)(info - prn_op_infos) : PRN_OP_unknown;
}
/* "a tensor of floats". */
const char *prn_type_class_text(prn_type_class cls);
/* The dialect bit of a name ("onnx", "nn", "mem"); foreign names are ONNX. */
prn_dialect prn_dialect_of(prn_str dialect);

#endif
