// Files that mlbench uses: beside it in a build tree, elsewhere once it is installed.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace ml::bench {

// The first of these paths, relative to mlbench's own folder, that exists. Throws not_found naming them.
std::string installed_file(std::initializer_list<std::string_view> paths);

}  // namespace ml::bench
