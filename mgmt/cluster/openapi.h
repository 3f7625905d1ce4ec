// SPDX-License-Identifier: BSD-3-Clause
// openapi.json, as it was when this was built.
#pragma once

#include <string_view>

namespace lagan::cluster {

std::string_view openapi_document();

}  // namespace lagan::cluster
