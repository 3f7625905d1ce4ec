// SPDX-License-Identifier: BSD-3-Clause
// The frames of a capture in tests/data.
#pragma once

#include <pcap/pcap.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace lagan::test {

using Frame = std::vector<uint8_t>;

// All frames of tests/data/NAME. Throws std::runtime_error if the file cannot be read to its end.
inline std::vector<Frame> read_capture(const std::string& name) {
    const std::string path = std::string(LAGAN_TEST_DATA) + "/" + name;
    char error[PCAP_ERRBUF_SIZE];
    const std::unique_ptr<pcap_t, decltype(&pcap_close)> capture(pcap_open_offline(path.c_str(), error),
                                                                 &pcap_close);
    if (!capture) throw std::runtime_error(error);
    std::vector<Frame> frames;
    pcap_pkthdr* header;
    const u_char* bytes;
    int status;
    while ((status = pcap_next_ex(capture.get(), &header, &bytes)) == 1) {
        if (header->caplen != header->len)
            throw std::runtime_error(path + ": a frame was cut when it was captured");
        frames.emplace_back(bytes, bytes + header->caplen);
    }
    if (status != PCAP_ERROR_BREAK) throw std::runtime_error(path + ": " + pcap_geterr(capture.get()));
    return frames;
}

// Two Linux rxe guests talking to each other; tests/data/README.md says what is in which.
inline const std::vector<std::string> kCaptures = {"rxe-rping.pcap", "rxe-read-bw.pcap", "rxe-atomic.pcap"};

inline std::vector<Frame> read_all_captures() {
    std::vector<Frame> all;
    for (const std::string& name : kCaptures) {
        std::vector<Frame> frames = read_capture(name);
        all.insert(all.end(), frames.begin(), frames.end());
    }
    return all;
}

}  // namespace lagan::test
