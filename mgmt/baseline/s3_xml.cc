// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/s3_xml.h"

#include <boost/property_tree/ptree.hpp>
#include <boost/property_tree/xml_parser.hpp>
#include <sstream>

#include "mgmt/baseline/object_store.h"

namespace lagan::baseline {

namespace {

using boost::property_tree::ptree;

// The children of the root, whatever its name.
ptree root_of(const std::string& text) {
    try {
        std::istringstream stream(text);
        ptree document;
        read_xml(stream, document);
        if (document.empty()) return {};
        return document.back().second;
    } catch (const boost::property_tree::ptree_error&) {
        throw StoreError(ErrorKind::unavailable, "S3: an answer is no XML: is the endpoint an S3 service?");
    }
}

std::string get(const ptree& tree, const char* name) {
    return tree.get<std::string>(name, "");
}

}  // namespace

XmlError xml_error(const std::string& text) {
    try {
        const ptree root = root_of(text);
        return {get(root, "Code"), get(root, "Message")};
    } catch (const StoreError&) {  // a proxy's page, or nothing
        return {};
    }
}

std::string xml_text(const std::string& text, const std::string& name) {
    return get(root_of(text), name.c_str());
}

XmlListing xml_listing(const std::string& text) {
    const ptree root = root_of(text);
    XmlListing listing;
    for (const auto& [name, child] : root) {
        if (name == "Contents") listing.keys.push_back(get(child, "Key"));
        if (name == "CommonPrefixes") listing.prefixes.push_back(get(child, "Prefix"));
    }
    if (get(root, "IsTruncated") == "true") {
        listing.next = get(root, "NextContinuationToken");
        if (listing.next.empty()) throw StoreError(ErrorKind::unavailable, "S3: a listing is cut off");
    }
    return listing;
}

XmlUploads xml_uploads(const std::string& text) {
    const ptree root = root_of(text);
    XmlUploads result;
    for (const auto& [name, child] : root)
        if (name == "Upload")
            result.uploads.push_back({get(child, "Key"), get(child, "UploadId"), get(child, "Initiated")});
    if (get(root, "IsTruncated") == "true") {
        result.next_key = get(root, "NextKeyMarker");
        result.next_id = get(root, "NextUploadIdMarker");
    }
    return result;
}

}  // namespace lagan::baseline
