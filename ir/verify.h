/* The verifier: every invariant of a module that can be named.
 *
 * Structure (definitions, uses, blocks, terminators, placement), operator
 * tables (operands, results, attributes, versions, element types), tensors
 * (sizes, sparsity claims against the data), functions (arity, recursion), and
 * then each operator's own hook. All errors are reported, in program order.
 * Linear in the size of the module; data is only read for sparsity claims. */
#ifndef PRN_IR_VERIFY_H
#define PRN_IR_VERIFY_H

#include "ir/op.h"

PRN_NODISCARD prn_status prn_verify(prn_module *m);

#endif
