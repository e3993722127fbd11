/* The untrusted boundary of ONNX files.
 *
 * A scanner walks the wire format over the mapped file before protobuf-c sees
 * a byte. It refuses what protobuf-c would trip over (nesting deeper than 100,
 * lengths past the end, groups, NUL in strings, fields given twice) and takes
 * the payload of every tensor out, wherever a tensor can be. protobuf-c
 * unpacks the small rest within a memory budget; payloads stay spans of the
 * mapping, so weights are never copied and files over 2 GB load. */
#ifndef PRN_FRONTENDS_ONNX_WIRE_H
#define PRN_FRONTENDS_ONNX_WIRE_H

#include "frontends/onnx/proto/onnx.pb-c.h"
#include "ir/support/diag.h"

/* The fields of a TensorProto that hold its elements. */
typedef enum prn_onnx_field {
  PRN_ONNX_RAW,     /* raw_data: packed little-endian elements */
  PRN_ONNX_FLOATS,  /* float_data: little-endian, packed */
  PRN_ONNX_DOUBLES, /* double_data: little-endian, packed */
  PRN_ONNX_INT32S,  /* int32_data: varints */
  PRN_ONNX_INT64S,  /* int64_data: varints */
  PRN_ONNX_UINT64S, /* uint64_data: varints */
  PRN_ONNX_FIELDS,
} prn_onnx_field;

/* One tensor's payload as spans of the file, unaligned; data is NULL where the
 * field is absent, or so oddly encoded (not packed, or in pieces) that it
 * stayed in the unpacked message. */
typedef struct prn_onnx_payload {
  prn_str field[PRN_ONNX_FIELDS];
} prn_onnx_payload;

typedef struct prn_onnx_pool prn_onnx_pool;
typedef struct prn_onnx_wire {
  ProtobufCMessage *root;
  prn_onnx_payload *payloads; /* TensorProto.lifted is an index into these */
  size_t num_payloads;
  prn_strbuf training; /* ModelProto.training_info fields, as they were */
  prn_onnx_pool *pool; /* everything root points to */
} prn_onnx_wire;

/* training_info is checked, but not unpacked: nothing here looks into it.
 *
 * Reads one message of the given type. file names the input in diagnostics;
 * bytes must outlive the result. Reports all faults it can tell apart. */
PRN_NODISCARD prn_status
prn_onnx_wire_read(prn_diag_sink *sink, const char *file, prn_str bytes,
                   const ProtobufCMessageDescriptor *type, prn_onnx_wire *out);
void prn_onnx_wire_destroy(prn_onnx_wire *w);

/* The payload of t, or NULL when nothing was taken out of it. */
const prn_onnx_payload *prn_onnx_wire_payload(const prn_onnx_wire *w,
                                              const Onnx__TensorProto *t);
/* Decodes n varints from span into out, as they come off the wire; false
 * unless span holds exactly n well-formed ones. */
bool prn_onnx_varints(prn_str span, uint64_t *out, size_t n);
/* How many varints span holds. */
size_t prn_onnx_count_varints(prn_str span);

#endif
