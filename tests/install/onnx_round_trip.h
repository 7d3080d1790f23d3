#pragma once

// Writes a small model as ONNX, reads it back and compares; what libmlengine.so does with its protobuf. 0 if all is
// well.
int onnx_round_trip();
