// One test for each row of the graph.
#pragma once

namespace ml::test {

void register_matrix();    // every device against the reference
void register_expected();  // the reference against NumPy
void register_control();   // control rows against the same written out

}  // namespace ml::test
