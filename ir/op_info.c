/* The operator tables, expanded; lookup by name. */
#include "ir/op_info.h"

#define SLOT(name, kind, tv, cls, since, until) \
  {#name, PRN_SLOT_##kind, PRN_TV_##tv, PRN_CLASS_##cls, since, until},
#define END_SLOT \
  { NULL, PRN_SLOT_END, PRN_TV_ANY, PRN_CLASS_ANY, 0, 0 }
#define NONE
#define REQ(name, tv, cls)                SLOT(name, REQ, tv, cls, 0, 0)
#define OPT(name, tv, cls)                SLOT(name, OPT, tv, cls, 0, 0)
#define WEIGHT(name, tv, cls)             SLOT(name, WEIGHT, tv, cls, 0, 0)
#define WEIGHT_OPT(name, tv, cls)         SLOT(name, WEIGHT_OPT, tv, cls, 0, 0)
#define VAR(name, tv, cls)                SLOT(name, VAR, tv, cls, 0, 0)
#define REQ_V(name, tv, cls, s, u)        SLOT(name, REQ, tv, cls, s, u)
#define OPT_V(name, tv, cls, s, u)        SLOT(name, OPT, tv, cls, s, u)
#define WEIGHT_OPT_V(name, tv, cls, s, u) SLOT(name, WEIGHT_OPT, tv, cls, s, u)
#define RES(name, tv, cls)                SLOT(name, REQ, tv, cls, 0, 0)
#define RES_OPT(name, tv, cls)            SLOT(name, OPT, tv, cls, 0, 0)
#define RES_OPT_V(name, tv, cls, s, u)    SLOT(name, OPT, tv, cls, s, u)
#define RESVAR(name, tv, cls)             SLOT(name, VAR, tv, cls, 0, 0)
#define IN(...) \
  (const prn_slot_info[]) { __VA_ARGS__ END_SLOT }
#define OUT(...)                    IN(__VA_ARGS__)
#define ATTR(name, kind, dflt, doc) {#name, PRN_ATTR_##kind, dflt, doc, 0, 0},
#define REQ_ATTR(name, kind, doc)   {#name, PRN_ATTR_##kind, NULL, doc, 0, 0},
#define ATTR_V(name, kind, dflt, since, until, doc) \
  {#name, PRN_ATTR_##kind, dflt, doc, since, until},
#define REQ_ATTR_V(name, kind, since, until, doc) \
  {#name, PRN_ATTR_##kind, NULL, doc, since, until},
#define ATTRS(...)                                        \
  (const prn_attr_info[]) {                               \
    __VA_ARGS__ { NULL, PRN_ATTR_UNIT, NULL, NULL, 0, 0 } \
  }
#define INFER(hook)  prn_infer_##hook
#define NO_INFER     NULL
#define VERIFY(hook) prn_verify_##hook
#define NO_VERIFY    NULL
/* The dialect tokens of the rows: what they stand for. */
#define NAME_onnx                        "onnx"
#define NAME_nn                          "nn"
#define NAME_mem                         "mem"
#define NAME_com_microsoft               "com.microsoft"
#define NAME_ai_onnx_ml                  "ai.onnx.ml"
#define NAME_ai_onnx_preview             "ai.onnx.preview"
#define NAME_ai_onnx_preview_training    "ai.onnx.preview.training"
#define DIALECT_com_microsoft            PRN_DIALECT_ONNX
#define DIALECT_ai_onnx_preview          PRN_DIALECT_ONNX
#define DIALECT_ai_onnx_preview_training PRN_DIALECT_ONNX
#define DIALECT_ai_onnx_ml               PRN_DIALECT_ONNX
#define DIALECT_onnx                     PRN_DIALECT_ONNX
#define DIALECT_nn                       PRN_DIALECT_NN
#define DIALECT_mem                      PRN_DIALECT_MEM
#define OP(dialect, name, since, until, doc, in, out, attrs, traits, infer, \
           verify, dims)                                                    \
  [PRN_OP_##dialect##_##name] = {NAME_##dialect,                            \
                                 #name,                                     \
                                 doc,                                       \
                                 DIALECT_##dialect,                         \
                                 since,                                     \
                                 until,                                     \
                                 in,                                        \
                                 out,                                       \
                                 attrs,                                     \
                                 traits,                                    \
                                 infer,                                     \
                                 verify,                                    \
                                 dims},
const prn_op_info prn_op_infos[PRN_OP_count] = {
#include "ir/ops.def"
};
#undef OP

/* Linear search is enough: every context caches the answer per name. */
const prn_op_info *prn_op_info_find(prn_str dialect, prn_str name) {
  for (int i = 1; i < PRN_OP_count; i++)
    if (prn_str_is(name, prn_op_infos[i].name) &&
        prn_str_is(dialect, prn_op_infos[i].dialect))
      return &prn_op_infos[i];
  return NULL;
}

prn_dialect prn_dialect_of(prn_str dialect) {
  if (prn_str_is(dialect, "nn")) return PRN_DIALECT_NN;
  if (prn_str_is(dialect, "mem")) return PRN_DIALECT_MEM;
  return PRN_DIALECT_ONNX;
}

const char *prn_type_class_text(prn_type_class cls) {
  static const char *const texts[] = {
      [PRN_CLASS_ANY] = "any value",
      [PRN_CLASS_TENSOR] = "a tensor",
      [PRN_CLASS_NUM] = "a tensor of numbers",
      [PRN_CLASS_FLOAT] = "a tensor of floats",
      [PRN_CLASS_INT] = "a tensor of integers",
      [PRN_CLASS_I64] = "a tensor of i64",
      [PRN_CLASS_INDEX] = "a tensor of i32 or i64",
      [PRN_CLASS_BOOL] = "a tensor of i1",
      [PRN_CLASS_STRING] = "a tensor of strings",
      [PRN_CLASS_SEQ] = "a sequence",
      [PRN_CLASS_NOSTRING] = "a tensor, but not of strings",
      [PRN_CLASS_I32] = "a tensor of i32",
      [PRN_CLASS_F32] = "a tensor of f32",
      [PRN_CLASS_U8] = "a tensor of ui8",
      [PRN_CLASS_BYTE] = "a tensor of i8 or ui8",
      [PRN_CLASS_OPTIONAL] = "an optional",
  };
  return texts[cls];
}
