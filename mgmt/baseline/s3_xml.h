// SPDX-License-Identifier: BSD-3-Clause
// The little XML that S3 answers with.
#pragma once

#include <string>
#include <vector>

namespace lagan::baseline {

struct XmlError {
    std::string code;
    std::string message;
};
XmlError xml_error(const std::string& text);  // empty fields if it is none

// Text of the elements NAME below the root; "" or none if there is none.
std::string xml_text(const std::string& text, const std::string& name);

struct XmlListing {
    std::vector<std::string> keys;      // Contents/Key
    std::vector<std::string> prefixes;  // CommonPrefixes/Prefix
    std::string next;                   // continuation token; empty at the end
};
XmlListing xml_listing(const std::string& text);

struct XmlUploads {
    struct Upload {
        std::string key;
        std::string id;
        std::string initiated;  // ISO 8601
    };
    std::vector<Upload> uploads;
    std::string next_key;  // empty at the end
    std::string next_id;
};
XmlUploads xml_uploads(const std::string& text);

}  // namespace lagan::baseline
