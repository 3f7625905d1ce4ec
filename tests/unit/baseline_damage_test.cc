// SPDX-License-Identifier: BSD-3-Clause
// Objects that are not what was written: every byte of them changed, cut off, exchanged, missing. What is
// restored is right or named as lost, never wrong.
#define BOOST_TEST_MODULE baseline_damage
#include <boost/test/unit_test.hpp>
#include <nlohmann/json.hpp>

#include "tests/unit/baseline_fixture.h"
#include "tests/unit/logged_seed.h"

using namespace lagan::test;

namespace {

std::string read_file(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const fs::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

std::set<uint64_t> pages_of(const std::vector<Loss>& losses) {
    std::set<uint64_t> pages;
    for (const Loss& loss : losses) {
        BOOST_TEST(!loss.reason.empty());
        for (const PageRange& range : loss.pages)
            for (uint64_t page = range.first; page < range.first + range.count; ++page)
                BOOST_TEST(pages.insert(page).second);
    }
    return pages;
}

// Two cuts in two segments: {0, 2, 4, 6} and then {4 (new), 5, 6 (freed)}.
struct Two {
    Two() : store(scratch.path) {
        BaselineWriter writer(store, region_of(10));
        checkpoint(writer, {{0, 1}, {2, 1}, {4, 1}, {6, 1}}, 1);
        checkpoint(writer, {{4, 2}, {5, kDamaged}, {6, 0}}, 2);
        const Manifest newest = writer.newest();
        older = scratch.path / segment_key("heap.1", newest.segments.at(0).id);
        newer = scratch.path / segment_key("heap.1", newest.segments.at(1).id);
        manifest = scratch.path / manifest_key("heap.1", newest.number);
    }
    // What can be restored: lost pages by `lost`, all others right.
    void require_lost(const std::set<uint64_t>& lost) {
        const BaselineReader reader(store, "heap.1");
        const Restored restored = restore(reader, model);
        BOOST_TEST(pages_of(restored.losses) == lost, boost::test_tools::per_element());
        Model expected = model;
        for (const uint64_t page : lost)
            expected.erase(page);
        BOOST_REQUIRE(restored.pages == expected);
    }
    const Model model{{0, 1}, {2, 1}, {4, 2}, {5, kDamaged}};
    BaselineScratch scratch;
    DirectoryStore store;
    fs::path older, newer, manifest;
};

std::string with_trailer(const std::string& body) {
    char text[32];
    std::snprintf(text, sizeof text, "{\"crc32\":\"%08x\"}\n",
                  lagan::roce::crc32_raw(0xffffffff, body.data(), body.size()));
    return body + "\n" + text;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_manifest_cut_off_at_any_byte_is_damaged) {
    Two two;
    const std::string text = read_file(two.manifest);
    for (size_t length = 0; length < text.size(); ++length) {
        write_file(two.manifest, text.substr(0, length));
        require_error([&] { BaselineReader(two.store, "heap.1"); }, ErrorKind::damaged, "cut 1");
        require_error([&] { BaselineWriter(two.store, region_of(10)); }, ErrorKind::damaged, "start over");
    }
    const std::vector<CutInfo> cuts = list_cuts(two.store, "heap.1");
    BOOST_REQUIRE(cuts.size() == 2U);
    BOOST_TEST(!cuts[0].readable);
    BOOST_TEST(contains(cuts[0].problem, "cut off"));
    require_restores(two.store, {{0, 1}, {2, 1}, {4, 1}, {6, 1}}, 1, cuts[1].manifest_number);
    write_file(two.manifest, text);
    two.require_lost({});
}

BOOST_AUTO_TEST_CASE(any_flipped_bit_of_a_manifest_is_noticed) {
    Two two;
    const std::string text = read_file(two.manifest);
    const std::string key = fs::relative(two.manifest, two.scratch.path);
    for (size_t bit = 0; bit < text.size() * 8; ++bit) {
        std::string bad = text;
        bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ 1 << bit % 8);
        require_error([&] { decode_manifest(bad, key); }, ErrorKind::damaged, key);
    }
    require_error([&] { decode_manifest(text + "x", key); }, ErrorKind::damaged, key);
    require_error([&] { decode_manifest(text, manifest_key("heap.1", 99)); }, ErrorKind::damaged,
                  "another one's");
    BOOST_TEST((encode(decode_manifest(text, key)) == text));
}

// A byte of the data costs its page; a byte of the tail costs the segment, and only what no newer one has.
BOOST_AUTO_TEST_CASE(any_changed_byte_of_a_segment_is_noticed) {
    std::mt19937_64 random = seeded_random();
    Two two;
    for (const bool newer : {false, true}) {
        const fs::path& path = newer ? two.newer : two.older;
        const std::string content = read_file(path);
        const size_t data_pages = newer ? 1 : 4;
        const std::set<uint64_t> whole = newer ? std::set<uint64_t>{4, 5, 6} : std::set<uint64_t>{0, 1, 2, 3};
        BOOST_REQUIRE(content.size() == (data_pages + 1) * kPageBytes);
        for (size_t at = 0; at < content.size(); at += at % kPageBytes < 128 ? 1 : 13) {
            std::string bad = content;
            bad[at] = static_cast<char>(bad[at] ^ 1 << random() % 8);
            write_file(path, bad);
            std::set<uint64_t> lost = whole;
            if (at < data_pages * kPageBytes) {
                const uint64_t page = newer ? 4 : 2 * (at / kPageBytes);
                lost = newer || page < 4 ? std::set{page} : std::set<uint64_t>{};  // 4 and 6 are replaced
            }
            two.require_lost(lost);
        }
        write_file(path, content);
    }
    two.require_lost({});
}

BOOST_AUTO_TEST_CASE(segments_cut_off_missing_or_exchanged_are_named) {
    Two two;
    const std::string older = read_file(two.older);
    const std::string newer = read_file(two.newer);
    for (size_t length = 0; length < older.size(); length += 1 + length % 511) {
        write_file(two.older, older.substr(0, length));
        two.require_lost({0, 1, 2, 3});
    }
    fs::remove(two.older);
    two.require_lost({0, 1, 2, 3});
    const std::vector<Loss> losses = BaselineReader(two.store, "heap.1").losses();
    BOOST_REQUIRE(losses.size() == 1U);
    BOOST_TEST(losses[0].object == fs::relative(two.older, two.scratch.path).string());
    BOOST_TEST(contains(losses[0].reason, "No such file"));
    write_file(two.older, newer);
    write_file(two.newer, older);
    two.require_lost({0, 1, 2, 3, 4, 5, 6});
    require_error([&] { BaselineWriter(two.store, region_of(10)); }, ErrorKind::damaged, "start over");
    write_file(two.older, older);
    write_file(two.newer, newer);
    two.require_lost({});
}

// It was whole when the reader began.
BOOST_AUTO_TEST_CASE(a_segment_that_goes_during_a_restore_is_named) {
    Two two;
    const BaselineReader reader(two.store, "heap.1");
    const std::string older = read_file(two.older);
    write_file(two.older, older.substr(0, 5000));
    BOOST_TEST(pages_of(restore(reader, two.model).losses) == (std::set<uint64_t>{0, 2}),
               boost::test_tools::per_element());
    fs::remove(two.older);
    BOOST_TEST(pages_of(restore(reader, two.model).losses) == (std::set<uint64_t>{0, 2}),
               boost::test_tools::per_element());
    // Its cut is replaced twice: no loss, but a reader that came too late.
    write_file(two.older, older);
    BaselineWriter writer(two.store, region_of(10));
    checkpoint(writer, {{0, 5}, {2, 5}, {4, 5}, {5, 5}, {6, 5}}, 3);
    checkpoint(writer, {{0, 6}}, 4);
    require_error([&] { restore(reader, two.model); }, ErrorKind::missing, "restore again");
}

BOOST_AUTO_TEST_CASE(manifests_with_a_right_checksum_and_wrong_content_are_refused) {
    using nlohmann::json;
    Two two;
    const std::string text = read_file(two.manifest);
    const std::string key = fs::relative(two.manifest, two.scratch.path);
    const json good = json::parse(text.substr(0, text.find('\n')));
    const auto decode = [&](const json& body) { decode_manifest(with_trailer(body.dump()), key); };
    decode(good);
    json newer = good;
    newer["version"] = 2;
    require_error([&] { decode(newer); }, ErrorKind::invalid, "written in format 2");
    write_file(two.manifest, with_trailer(newer.dump()));
    require_error([&] { BaselineReader(two.store, "heap.1"); }, ErrorKind::invalid, "format 2");
    WriterOptions over;
    over.start_over = true;
    require_error([&] { BaselineWriter(two.store, region_of(10), over); }, ErrorKind::invalid, "format 2");
    // Every value replaced by ones of other types and sizes, every member left out.
    const json strange[] = {nullptr, -1, 1.5, "x", true, json::array(), json::object(), 1ULL << 63, 0};
    const json flat = good.flatten();
    size_t refused = 0;
    for (const auto& [pointer, value] : flat.items()) {
        for (const json& instead : strange) {
            json bad = good;
            bad[json::json_pointer(pointer)] = instead;
            if (const auto error = error_of([&] { decode(bad); })) {
                ++refused;
                BOOST_TEST((error->kind() == ErrorKind::damaged || error->kind() == ErrorKind::invalid));
            }
        }
    }
    BOOST_TEST(refused > flat.size() * 5);
    for (const auto& [name, value] : good.items()) {
        json bad = good;
        bad.erase(name);
        require_error([&] { decode(bad); }, ErrorKind::damaged, key);
    }
    for (const std::string body : {"", "[]", "null", "{", "{}", "\xff", "[[[[[[[["})
        require_error([&] { decode_manifest(with_trailer(body), key); }, ErrorKind::damaged, key);
    // Counts that the segments do not bear out.
    json counts = good;
    counts["segments"][0][6] = 3;
    write_file(two.manifest, with_trailer(counts.dump()));
    require_error([&] { BaselineReader(two.store, "heap.1"); }, ErrorKind::damaged, "contradict");
}

BOOST_AUTO_TEST_CASE(other_regions_and_other_writers_are_refused_by_name) {
    Two two;
    const auto refused = [&](RegionIdentity region, const std::string& why) {
        require_error([&] { BaselineWriter(two.store, region); }, ErrorKind::refused, why);
    };
    RegionIdentity other = region_of(10);
    other.uid = 77;
    refused(other, "another region");
    refused(region_of(11), "of 40960 bytes, and ours has 45056");
    refused(region_of(10, 1, 0xbb), "another appliance");
    BaselineWriter(two.store, region_of(10, 9, 0xbb));
    refused(region_of(10, 8, 0xbb), "has epoch 9, ours is 8");
    refused(region_of(10), "the region has moved");
    // A baseline that was copied to another name.
    fs::copy(two.scratch.path / "heap.1", two.scratch.path / "copy", fs::copy_options::recursive);
    other = region_of(10, 9, 0xbb);
    other.name = "copy";
    refused(other, "another region");
    two.require_lost({});
}

BOOST_AUTO_TEST_CASE(a_damaged_baseline_is_started_over) {
    for (const bool manifest_too : {false, true}) {
        Two two;
        fs::remove(two.newer);
        if (manifest_too) write_file(two.manifest, "x");
        WriterOptions over;
        over.start_over = true;
        BaselineWriter writer(two.store, region_of(10), over);
        if (!manifest_too) two.require_lost({4, 5, 6});  // as before
        checkpoint(writer, {{1, 9}, {4, 9}}, 3);         // all pages of the region
        require_restores(two.store, {{1, 9}, {4, 9}}, 3);
        checkpoint(writer, {{1, 10}}, 4);
        checkpoint(writer, {{1, 11}}, 5);
        require_restores(two.store, {{1, 11}, {4, 9}}, 5);
        BOOST_TEST(!fs::exists(two.older));
    }
}

// Compaction must not carry a corrupted page on under a new CRC, nor lose that it is corrupted.
BOOST_AUTO_TEST_CASE(compaction_reports_corrupted_pages_and_leaves_them) {
    const BaselineScratch scratch;
    DirectoryStore store(scratch.path);
    WriterOptions options;
    options.dead_share_limit = 0.1;
    BaselineWriter writer(store, region_of(10), options);
    checkpoint(writer, {{0, 1}, {1, 1}, {2, 1}, {3, 1}}, 1);
    const fs::path path = scratch.path / segment_key("heap.1", writer.newest().segments.at(0).id);
    std::string content = read_file(path);
    content[kPageBytes + 99] ^= 1;  // of page 1
    write_file(path, content);
    const CommitResult result = checkpoint(writer, {{0, 2}, {2, 2}}, 2);
    BOOST_TEST(pages_of(result.losses) == std::set<uint64_t>{1}, boost::test_tools::per_element());
    BOOST_REQUIRE(result.losses.size() == 1U);
    BOOST_TEST(contains(result.losses[0].object, ".seg"));
    Model model{{0, 2}, {1, 1}, {2, 2}, {3, 1}};
    const Restored restored = restore(BaselineReader(store, "heap.1"), model);
    BOOST_TEST(pages_of(restored.losses) == std::set<uint64_t>{1}, boost::test_tools::per_element());
    BOOST_TEST(checkpoint(writer, {{1, 3}}, 3).losses.empty());  // the region had it still
    change(model, {{1, 3}});
    require_restores(store, model, 3);
}
