/* docs/ops.md: one section for each operator, in the order of the tables. */
#include "ir/docs.h"

#include "ir/op_info.h"

static const char intro[] =
    "<!-- Made by prune-opt --emit-docs=ops. -->\n"
    "# Operators\n\n"
    "Every operator that the compiler knows, from the tables in `ir/*.def`. "
    "The text form is described in `docs/text.md`.\n\n"
    "Slots with the same type variable (T, T1, ...) have the same element "
    "type. A *weight* is usually a trained constant. Sizes say how the "
    "dimensions of operands and results relate: equal letters are equal "
    "sizes, `(a b)` is a product, `*` stands for any number of dimensions "
    "that broadcast together, `~` for any number and `_` for one that are "
    "related to nothing; `!` says that all elements along it are mixed, `?` "
    "that the operand may lack it, `^a` that the last two are swapped when "
    "attribute a is set, `| g = a` that attribute a holds the size g. "
    "*elementwise* results broadcast their operands, *axis* also mixes along "
    "the axes that an attribute names, *opaque* says nothing, *hook* is said "
    "in code. `ir/relation.h` has the grammar.\n";

static const char *const dialect_texts[] = {
    "## onnx\n\nONNX as it is written: one row covers all versions of an "
    "operator.\n",
    "## nn\n\nWhat the compiler reasons about: few operators, one meaning "
    "each.\n",
    "## mem\n\nWhat a backend prints: buffers, views, kernels.\n",
};

/* ---- versions ---- */

static void print_versions(prn_strbuf *b, int32_t since, int32_t until) {
  if (since && until)
    prn_strbuf_fmt(b, "operator sets %d to %d", (int)since, (int)until - 1);
  else if (since)
    prn_strbuf_fmt(b, "from operator set %d", (int)since);
  else if (until)
    prn_strbuf_fmt(b, "before operator set %d", (int)until);
}

/* ---- slots ---- */

static const char *kind_text(prn_slot_kind k) {
  switch (k) {
  case PRN_SLOT_OPT:
    return "optional";
  case PRN_SLOT_WEIGHT:
    return "weight";
  case PRN_SLOT_WEIGHT_OPT:
    return "optional weight";
  case PRN_SLOT_VAR:
    return "any number";
  case PRN_SLOT_REQ:
  case PRN_SLOT_END:
    break;
  }
  return "";
}

static void print_slot_type(prn_strbuf *b, const prn_slot_info *s) {
  static const char *const vars[] = {"", "T", "T1", "T2", "T3"};
  if (s->var != PRN_TV_ANY) prn_strbuf_fmt(b, "%s: ", vars[s->var]);
  prn_strbuf_cstr(b, prn_type_class_text(s->cls));
}

static void print_slots(prn_strbuf *b, const char *role,
                        const prn_slot_info *slots) {
  for (const prn_slot_info *s = slots; s->kind != PRN_SLOT_END; s++) {
    prn_strbuf_fmt(b, "| %s | `%s` | ", role, s->name);
    print_slot_type(b, s);
    const char *kind = kind_text(s->kind);
    prn_strbuf_fmt(b, " | %s", kind);
    if (*kind && (s->since || s->until)) prn_strbuf_cstr(b, ", ");
    print_versions(b, s->since, s->until);
    prn_strbuf_cstr(b, " |\n");
  }
}

/* ---- attributes ---- */

/* A cell of a table: '|' would end it. */
static void print_cell(prn_strbuf *b, const char *text) {
  for (; *text; text++) {
    if (*text == '|') prn_strbuf_char(b, '\\');
    prn_strbuf_char(b, *text);
  }
}

static void print_attr(prn_strbuf *b, const prn_attr_info *a) {
  prn_strbuf_fmt(b, "| attribute | `%s` | %s", a->name,
                 prn_attr_kind_name(a->kind));
  if (!a->dflt) {
    prn_strbuf_cstr(b, ", required");
  } else if (*a->dflt) {
    prn_strbuf_cstr(b, " = `");
    print_cell(b, a->dflt);
    prn_strbuf_char(b, '`');
  }
  prn_strbuf_cstr(b, " | ");
  print_cell(b, a->doc);
  if (a->since || a->until) {
    prn_strbuf_cstr(b, " (");
    print_versions(b, a->since, a->until);
    prn_strbuf_char(b, ')');
  }
  prn_strbuf_cstr(b, " |\n");
}

/* ---- operators ---- */

static void print_syntax(prn_strbuf *b, const prn_op_info *i) {
  prn_strbuf_cstr(b, "    ");
  for (const prn_slot_info *s = i->out; s->kind != PRN_SLOT_END; s++)
    prn_strbuf_fmt(b, "%s%%%s%s", s == i->out ? "" : ", ", s->name,
                   s->kind == PRN_SLOT_VAR ? "..." : "");
  if (i->out->kind != PRN_SLOT_END) prn_strbuf_cstr(b, " = ");
  prn_strbuf_fmt(b, "%s.%s", i->dialect, i->name);
  for (const prn_slot_info *s = i->in; s->kind != PRN_SLOT_END; s++)
    prn_strbuf_fmt(b, "%s%%%s%s", s == i->in ? "(" : ", ", s->name,
                   s->kind == PRN_SLOT_VAR ? "..." : "");
  if (i->in->kind != PRN_SLOT_END) prn_strbuf_char(b, ')');
  bool any = false;
  for (const prn_attr_info *a = i->attrs; a->name; a++) {
    if (a->dflt) continue;
    prn_strbuf_fmt(b, "%s%s = ...", any ? ", " : " {", a->name);
    any = true;
  }
  prn_strbuf_cstr(b, any ? "}\n\n" : "\n\n");
}

static void print_facts(prn_strbuf *b, const prn_op_info *i) {
  static const struct {
    uint32_t trait;
    const char *text;
  } traits[] = {
      {PRN_PURE, "pure"},
      {PRN_ELEMENTWISE, "elementwise"},
      {PRN_TERMINATOR, "terminator"},
      {PRN_COMMUTATIVE, "commutative"},
      {PRN_RANDOM, "random"},
      {PRN_CONSTANT, "constant"},
      {PRN_TOP_LEVEL, "top level"},
      {PRN_ISOLATED, "isolated"},
      {PRN_VIEW_LIKE, "view-like"},
  };
  bool any = false;
  for (size_t t = 0; t < PRN_COUNT(traits); t++) {
    if (!(i->traits & traits[t].trait)) continue;
    prn_strbuf_fmt(b, "%s%s", any ? ", " : "Traits: ", traits[t].text);
    any = true;
  }
  prn_strbuf_fmt(b, "%sSizes: `%s`.", any ? ". " : "", i->dims);
  if (!i->infer && i->dialect_bit == PRN_DIALECT_ONNX &&
      !(i->traits & (PRN_TERMINATOR | PRN_TOP_LEVEL)))
    prn_strbuf_cstr(b, " Shapes are not inferred.");
  prn_strbuf_cstr(b, "\n");
}

static void print_op(prn_strbuf *b, const prn_op_info *i) {
  prn_strbuf_fmt(b, "\n### `%s.%s`\n\n%s", i->dialect, i->name, i->doc);
  if (i->since || i->until) {
    prn_strbuf_cstr(b, " Exists ");
    if (i->since && i->until) prn_strbuf_cstr(b, "in ");
    print_versions(b, i->since, i->until);
    prn_strbuf_char(b, '.');
  }
  prn_strbuf_cstr(b, "\n\n");
  print_syntax(b, i);
  if (i->in->kind != PRN_SLOT_END || i->out->kind != PRN_SLOT_END ||
      i->attrs->name)
    prn_strbuf_cstr(b, "| | name | type | |\n|---|---|---|---|\n");
  print_slots(b, "operand", i->in);
  print_slots(b, "result", i->out);
  for (const prn_attr_info *a = i->attrs; a->name; a++)
    print_attr(b, a);
  prn_strbuf_char(b, '\n');
  print_facts(b, i);
}

void prn_ops_docs(prn_strbuf *b) {
  static const prn_dialect dialects[] = {PRN_DIALECT_ONNX, PRN_DIALECT_NN,
                                         PRN_DIALECT_MEM};
  prn_strbuf_cstr(b, intro);
  for (size_t d = 0; d < PRN_COUNT(dialects); d++) {
    prn_strbuf_char(b, '\n');
    prn_strbuf_cstr(b, dialect_texts[d]);
    for (int i = 1; i < PRN_OP_count; i++)
      if (prn_op_infos[i].dialect_bit == dialects[d])
        print_op(b, &prn_op_infos[i]);
  }
}
