/* frontends/onnx/wire.h: what passes the boundary, and in what shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "frontends/onnx/wire.h"

static prn_strbuf said;

static void listen_in(void *user, const prn_diag *d) {
  prn_diag_format(user, d, &said);
}

static prn_status read_as(const ProtobufCMessageDescriptor *type,
                          const void *data, size_t size, prn_onnx_wire *w) {
  prn_diag_sink sink = {.handler = listen_in};
  sink.user = &sink;
  said.size = 0;
  prn_status status =
      prn_onnx_wire_read(&sink, "f", (prn_str){data, size}, type, w);
  assert_int_equal(status == PRN_FAIL, sink.errors > 0);
  prn_diag_sink_destroy(&sink);
  return status;
}

#define READ(type, bytes, w) \
  read_as(&onnx__##type##__descriptor, bytes, sizeof(bytes) - 1, w)

#define ASSERT_REFUSED(type, bytes, message)                   \
  do {                                                         \
    prn_onnx_wire w_;                                          \
    assert_int_equal(READ(type, bytes, &w_), PRN_FAIL);        \
    assert_null(w_.root);                                      \
    assert_string_equal(said.data, "f: error: " message "\n"); \
  } while (0)

/* Every payload field is a span of the input, also inside a Constant. */
static void test_lifts(void **state) {
  (void)state;
  static const char bytes[] =
      "\x3a\x39"                              /* graph */
      "\x0a\x1e\x2a\x1c\x0a\x05value\x2a\x13" /* node.attribute.t */
      "\x2a\x03\x01\x80\x01"                  /* int32_data 1, 128 */
      "\x52\x08"
      "ABCDEFGH"         /* double_data */
      "\x5a\x02\x80\x02" /* uint64_data 256 */
      "\x2a\x17\x08\x02\x10\x01"
      "\x22\x04"
      "1234" /* initializer: dims 2, float; float_data */
      "\x42\x01w\x4a\x08"
      "abcdefgh"; /* name; raw_data */
  prn_onnx_wire w;
  assert_int_equal(READ(model_proto, bytes, &w), PRN_OK);
  assert_int_equal(w.num_payloads, 2);
  const Onnx__ModelProto *m = (const Onnx__ModelProto *)w.root;
  const Onnx__TensorProto *t = m->graph->initializer[0];
  const prn_onnx_payload *p = prn_onnx_wire_payload(&w, t);
  assert_string_equal(t->name, "w");
  assert_false(t->has_raw_data);
  assert_ptr_equal(p->field[PRN_ONNX_RAW].data, bytes + sizeof bytes - 9);
  assert_int_equal(p->field[PRN_ONNX_RAW].size, 8);
  assert_true(prn_str_is(p->field[PRN_ONNX_FLOATS], "1234"));
  assert_null(p->field[PRN_ONNX_INT32S].data);
  t = m->graph->node[0]->attribute[0]->t;
  p = prn_onnx_wire_payload(&w, t);
  uint64_t v[2];
  assert_true(prn_str_is(p->field[PRN_ONNX_DOUBLES], "ABCDEFGH"));
  assert_int_equal(prn_onnx_count_varints(p->field[PRN_ONNX_INT32S]), 2);
  assert_true(prn_onnx_varints(p->field[PRN_ONNX_INT32S], v, 2));
  assert_int_equal(v[0], 1);
  assert_int_equal(v[1], 128);
  assert_false(prn_onnx_varints(p->field[PRN_ONNX_INT32S], v, 1));
  assert_true(prn_onnx_varints(p->field[PRN_ONNX_UINT64S], v, 1));
  assert_int_equal(v[0], 256);
  prn_onnx_wire_destroy(&w);
}

/* A packed field in pieces keeps its order; protobuf-c joins it. */
static void test_pieces(void **state) {
  (void)state;
  prn_onnx_wire w;
  static const char bytes[] = "\x3a\x02\x01\x02\x38\x03\x3a\x01\x04";
  assert_int_equal(READ(tensor_proto, bytes, &w), PRN_OK);
  const Onnx__TensorProto *t = (const Onnx__TensorProto *)w.root;
  assert_null(prn_onnx_wire_payload(&w, t));
  assert_int_equal(t->n_int64_data, 4);
  for (int i = 0; i < 4; i++)
    assert_int_equal(t->int64_data[i], i + 1);
  prn_onnx_wire_destroy(&w);
}

static void test_empty_payload(void **state) {
  (void)state;
  prn_onnx_wire w;
  assert_int_equal(READ(tensor_proto, "\x4a\x00", &w), PRN_OK);
  const prn_onnx_payload *p =
      prn_onnx_wire_payload(&w, (const Onnx__TensorProto *)w.root);
  assert_non_null(p->field[PRN_ONNX_RAW].data);
  assert_int_equal(p->field[PRN_ONNX_RAW].size, 0);
  prn_onnx_wire_destroy(&w);
  assert_int_equal(READ(tensor_proto, "", &w), PRN_OK);
  prn_onnx_wire_destroy(&w);
}

static void test_unknown_fields_stay(void **state) {
  (void)state;
  prn_onnx_wire w;
  static const char bytes[] = "\xc2\x3e\x02hi\xc8\x3e\x05\x08\x07";
  assert_int_equal(READ(model_proto, bytes, &w), PRN_OK);
  assert_int_equal(w.root->n_unknown_fields, 2);
  assert_int_equal(w.root->unknown_fields[0].tag, 1000);
  assert_memory_equal(w.root->unknown_fields[0].data, "\x02hi", 3);
  assert_int_equal(((const Onnx__ModelProto *)w.root)->ir_version, 7);
  prn_onnx_wire_destroy(&w);
}

static void test_refuses(void **state) {
  (void)state;
  ASSERT_REFUSED(model_proto, "\x08",
                 "byte 1, in ir_version: a varint is "
                 "cut off or malformed");
  ASSERT_REFUSED(model_proto, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
                 "byte 1, in ir_version: a varint is cut off or malformed");
  ASSERT_REFUSED(model_proto, "\x80",
                 "byte 0: a field number is cut off or "
                 "malformed");
  ASSERT_REFUSED(model_proto, "\x00\x00",
                 "byte 0: a field number is cut off or malformed");
  ASSERT_REFUSED(model_proto, "\xa3\x06",
                 "byte 0: groups are not part of "
                 "ONNX");
  ASSERT_REFUSED(model_proto, "\xa7\x06",
                 "byte 0: wire type 7 does not "
                 "exist");
  ASSERT_REFUSED(model_proto, "\x3a\x05\x12\x01g",
                 "byte 1, in graph: a length of 5 bytes runs past the end, "
                 "3 bytes are left");
  ASSERT_REFUSED(model_proto, "\x38\x05",
                 "byte 0, in graph: expected a length, found a varint");
  ASSERT_REFUSED(model_proto, "\x08\x01\x08\x02",
                 "byte 2, in ir_version: the field is given twice");
  ASSERT_REFUSED(model_proto, "\x3a\x06\x0a\x00\x0a\x02\x22\x00\x3a\x00",
                 "byte 8, in graph: the field is given twice");
  ASSERT_REFUSED(tensor_shape_proto__dimension, "\x08\x01\x12\x01n",
                 "byte 2, in dim_param: both dim_value and dim_param are "
                 "given");
  ASSERT_REFUSED(tensor_proto,
                 "\x22\x03"
                 "123",
                 "byte 2, in float_data[0]: the packed values are malformed");
  ASSERT_REFUSED(tensor_proto, "\x3a\x02\x80\x80",
                 "byte 2, in int64_data[0]: the packed values are malformed");
  ASSERT_REFUSED(tensor_proto, "\x4a\x01x\x4a\x01y",
                 "byte 3, in raw_data: the field is given twice");
  /* our own mark for lifted payloads cannot come from a file */
  ASSERT_REFUSED(tensor_proto, "\xf8\xff\xff\xff\x0f\x01",
                 "byte 0, in lifted: field number 536870911 is reserved");
}

/* Faults that leave the reader in step are all reported. */
static void test_refuses_all(void **state) {
  (void)state;
  ASSERT_REFUSED(model_proto,
                 "\x3a\x0a\x0a\x00\x0a\x06\x0a\x01\x00\x12\x01\x00",
                 "byte 8, in graph.node[1].input[0]: the string holds a NUL "
                 "byte\nf: error: byte 11, in graph.node[1].output[0]: the "
                 "string holds a NUL byte");
}

/* Sequence types, one in the other, built from the inside out. */
static void test_depth(void **state) {
  (void)state;
  unsigned char bytes[400];
  for (size_t levels = 98; levels <= 102; levels++) {
    size_t at = sizeof bytes;
    for (size_t i = levels; i-- > 0;) {
      size_t size = sizeof bytes - at;
      bytes[--at] = (unsigned char)(size >> 7);
      bytes[--at] = (unsigned char)((size & 0x7f) | 0x80);
      bytes[--at] = i % 2 ? 0x0a : 0x22; /* elem_type, sequence_type */
    }
    prn_onnx_wire w;
    prn_status status = read_as(&onnx__type_proto__descriptor, bytes + at,
                                sizeof bytes - at, &w);
    assert_int_equal(status, levels < 100 ? PRN_OK : PRN_FAIL);
    if (status == PRN_OK)
      prn_onnx_wire_destroy(&w);
    else
      assert_non_null(strstr(said.data, "nested deeper than 100"));
  }
}

/* Two bytes of input become 250 of memory; a small file cannot ask for much.
 */
static void test_budget(void **state) {
  (void)state;
  size_t n = 4 << 20;
  char *bytes = malloc(n);
  prn_onnx_wire w;
  assert_non_null(bytes);
  for (size_t i = 0; i < n; i += 2)
    memcpy(bytes + i, "\x2a\x00", 2);
  assert_int_equal(read_as(&onnx__node_proto__descriptor, bytes, n, &w),
                   PRN_FAIL);
  assert_string_equal(said.data, "f: error: the model without its weights is "
                                 "too large\n");
  free(bytes);
}

/* Every prefix of a message and every changed byte ends in one answer. */
static void test_damage(void **state) {
  (void)state;
  static const char good[] = "\x3a\x22\x0a\x10\x0a\x01x\x12\x01y\"\x04Relu"
                             "\x12\x01n\x2a\x0b\x08\x01\x10\x01\x42\x01w"
                             "\x4a\x01z\x12\x01g";
  char bytes[sizeof good];
  prn_onnx_wire w;
  for (size_t i = 0; i < sizeof good - 1; i++) {
    if (read_as(&onnx__model_proto__descriptor, good, i, &w) == PRN_OK)
      prn_onnx_wire_destroy(&w);
    for (int v = 0; v < 256; v++) {
      memcpy(bytes, good, sizeof good);
      bytes[i] = (char)v;
      if (READ(model_proto, bytes, &w) == PRN_OK) prn_onnx_wire_destroy(&w);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_lifts),
      cmocka_unit_test(test_pieces),
      cmocka_unit_test(test_empty_payload),
      cmocka_unit_test(test_unknown_fields_stay),
      cmocka_unit_test(test_refuses),
      cmocka_unit_test(test_refuses_all),
      cmocka_unit_test(test_depth),
      cmocka_unit_test(test_budget),
      cmocka_unit_test(test_damage),
  };
  int status = cmocka_run_group_tests(tests, NULL, NULL);
  prn_strbuf_destroy(&said);
  return status;
}
