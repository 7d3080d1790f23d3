// An application with another version of protobuf. It is linked with a library that has every protobuf symbol that
// libmlengine.so imports, and each of them traps: the engine must come out of a round trip without meeting one.
#include "tests/install/onnx_round_trip.h"

int main() { return onnx_round_trip(); }
