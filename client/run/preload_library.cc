// SPDX-License-Identifier: BSD-3-Clause
#include "client/run/preload_library.h"

#include <filesystem>

#include "client/pager/attach_message.h"
#include "client/run/program.h"

namespace lagan::client::run {

std::string find_preload(const std::string& given) {
    if (!given.empty()) return std::filesystem::absolute(given);
    const std::filesystem::path here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
    for (const char* place :
         {"preload", "../client/preload", "../lib/lagan", "../lib/x86_64-linux-gnu/lagan"}) {
        const auto path = here / place / "liblagan_preload.so";
        if (std::filesystem::exists(path)) return std::filesystem::canonical(path);
    }
    throw StartError(pager::kExitLaganFailed, "liblagan_preload.so is not beside " + here.string());
}

}  // namespace lagan::client::run
