// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/directory_store.h"
#include "mgmt/baseline/store_url.h"

namespace lagan::baseline {

std::unique_ptr<ObjectStore> open_store(const StoreUrl& url) {
    if (url.engine == StoreUrl::Engine::directory) return std::make_unique<DirectoryStore>(url.directory);
    throw StoreError(ErrorKind::invalid, url.text + ": this build has the directory engine only");
}

}  // namespace lagan::baseline
