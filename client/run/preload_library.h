// SPDX-License-Identifier: BSD-3-Clause
// Where the library is that `lagan run` loads into a program.
#pragma once

#include <string>

namespace lagan::client::run {

// `given`, or the one that belongs to this executable, in the build or as installed. Throws StartError if
// there is none.
std::string find_preload(const std::string& given);

}  // namespace lagan::client::run
