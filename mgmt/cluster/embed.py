#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes a C++ source of openapi.json."""
import json
import pathlib
import sys

text = json.dumps(json.loads(pathlib.Path(sys.argv[1]).read_text()), indent=1)
assert ')json"' not in text
pathlib.Path(sys.argv[2]).write_text(f'''// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/openapi.h"

namespace lagan::cluster {{

std::string_view openapi_document() {{
    return R"json({text}
)json";
}}

}}  // namespace lagan::cluster
''')
