# Interesting: the model holds a Softmax.
prune-opt "$1" 2> /dev/null | grep -q 'onnx.Softmax'
