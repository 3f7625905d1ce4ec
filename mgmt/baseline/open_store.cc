// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/directory_store.h"
#include "mgmt/baseline/rados_store.h"
#include "mgmt/baseline/s3_store.h"
#include "mgmt/baseline/store_url.h"

namespace lagan::baseline {

std::unique_ptr<ObjectStore> open_store(const StoreUrl& url) {
    switch (url.engine) {
        case StoreUrl::Engine::directory:
            return std::make_unique<DirectoryStore>(url.directory);
        case StoreUrl::Engine::s3:
            return std::make_unique<S3Store>(url);
        case StoreUrl::Engine::rados:
            return std::make_unique<RadosStore>(url);
    }
    throw StoreError(ErrorKind::invalid, "baseline store: no such engine");
}

}  // namespace lagan::baseline
