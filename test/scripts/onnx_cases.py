"""The cases that onnx generates for its backend tests of operators."""
import os
import warnings

from onnx import TensorProto, numpy_helper


def node_cases():
    """All of them, in order of their names."""
    from onnx.backend.test.case.node import collect_testcases
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sorted(collect_testcases(None), key=lambda case: case.name)


def write_model(case, path):
    with open(path, "wb") as f:
        f.write(case.model.SerializeToString(deterministic=True))


def proto(value, info):
    """VALUE as the message that the type of INFO takes."""
    if isinstance(value, TensorProto):
        return value
    of = {"map_type": numpy_helper.from_dict,
          "sequence_type": numpy_helper.from_list,
          "optional_type": numpy_helper.from_optional,
          "tensor_type": numpy_helper.from_array}
    return of[info.type.WhichOneof("value")](value, info.name)


def write_case(case, folder):
    """model.onnx and test_data_set_N, as onnx lays them out on disk."""
    os.makedirs(folder, exist_ok=True)
    write_model(case, os.path.join(folder, "model.onnx"))
    graph = case.model.graph
    for i, data in enumerate(case.data_sets):
        where = os.path.join(folder, f"test_data_set_{i}")
        os.makedirs(where, exist_ok=True)
        for kind, values, infos in zip(("input", "output"), data,
                                       (graph.input, graph.output)):
            for k, (value, info) in enumerate(zip(values, infos)):
                path = os.path.join(where, f"{kind}_{k}.pb")
                with open(path, "wb") as f:
                    f.write(proto(value, info).SerializeToString())
