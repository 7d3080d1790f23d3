// An application that uses protobuf itself, in its full form, before, after and while the engine reads and writes ONNX.
#include <google/protobuf/descriptor.pb.h>

#include <cstdio>

#include "tests/install/onnx_round_trip.h"

int main() {
  google::protobuf::FileDescriptorProto before;
  before.set_name("beside.proto");
  before.add_message_type()->set_name("Beside");

  if (onnx_round_trip() != 0) return 1;

  google::protobuf::FileDescriptorProto after;
  if (!after.ParseFromString(before.SerializeAsString()) || after.message_type(0).name() != "Beside") {
    std::fputs("the application's own protobuf no longer works\n", stderr);
    return 1;
  }
  return 0;
}
