// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE baseline_url
#include <boost/test/unit_test.hpp>
#include <cstdlib>

#include "mgmt/baseline/s3_credentials.h"
#include "mgmt/baseline/s3_xml.h"
#include "mgmt/baseline/store_url.h"
#include "tests/unit/baseline_fixture.h"
#include "tests/unit/logged_seed.h"

using namespace lagan::test;

namespace {

void require_invalid(const std::string& url, const std::string& why) {
    BOOST_TEST_INFO(url);
    require_error([&] { parse_store_url(url); }, ErrorKind::invalid, why);
}

}  // namespace

BOOST_AUTO_TEST_CASE(stores_are_named_by_urls) {
    StoreUrl url = parse_store_url("/srv/with?odd=name");
    BOOST_TEST((url.engine == StoreUrl::Engine::directory));
    BOOST_TEST(url.directory == "/srv/with?odd=name");
    BOOST_TEST(parse_store_url("file:///srv/a%20b").directory == "/srv/a b");

    url = parse_store_url(
        "s3://bucket/a/b?endpoint=https://h:9000/&part_mib=64&credentials=%2fetc%2Fk&timeout=3");
    BOOST_TEST((url.engine == StoreUrl::Engine::s3));
    BOOST_TEST(url.container == "bucket");
    BOOST_TEST(url.prefix == "a/b/");
    BOOST_TEST(url.endpoint == "https://h:9000");
    BOOST_TEST(url.region == "us-east-1");
    BOOST_TEST(url.credentials_file == "/etc/k");
    BOOST_TEST(url.part_bytes == 64U << 20);
    BOOST_TEST(url.timeout.count() == 3);
    BOOST_TEST(url.text == "s3://bucket/a/b");
    BOOST_TEST(parse_store_url("s3://bucket/?endpoint=http://h").prefix == "");

    url = parse_store_url("rados://pool?user=client.lagan&conf=/x/ceph.conf");
    BOOST_TEST((url.engine == StoreUrl::Engine::rados));
    BOOST_TEST(url.container == "pool");
    BOOST_TEST(url.prefix == "");
    BOOST_TEST(url.user == "client.lagan");
    BOOST_TEST(url.conf_file == "/x/ceph.conf");
    BOOST_TEST(parse_store_url("rados://pool/p").conf_file == "/etc/ceph/ceph.conf");
}

BOOST_AUTO_TEST_CASE(wrong_urls_say_what_is_wrong) {
    require_invalid("", "unknown kind");
    require_invalid("relative/path", "unknown kind");
    require_invalid("http://x", "unknown kind");
    require_invalid("file://relative", "absolute");
    require_invalid("s3://", "bucket");
    require_invalid("s3://b", "endpoint");
    require_invalid("s3://b?endpoint=h:9000", "endpoint is");
    require_invalid("s3://b?endpoint=http://", "endpoint is");
    require_invalid("s3://b?endpoint=http://h/path", "endpoint is");
    require_invalid("s3://b?endpoint=http://u:p@h", "endpoint is");
    require_invalid("s3://b//c?endpoint=http://h", "prefix");
    require_invalid("s3://b/..?endpoint=http://h", "prefix");
    require_invalid("s3://b/a b?endpoint=http://h", "prefix");
    require_invalid("s3://b?endpoint=http://h&part_mib=4", "part_mib is a number from 5");
    require_invalid("s3://b?endpoint=http://h&part_mib=5x", "part_mib");
    require_invalid("s3://b?endpoint=http://h&colour=red", "unknown option 'colour'");
    require_invalid("s3://b?endpoint=http://h&region=a:b", "region");
    require_invalid("s3://b?endpoint=http://h&region=a&region=b", "twice");
    require_invalid("s3://b?endpoint", "name=value");
    require_invalid("s3://b?endpoint=%4", "digits");
    require_invalid("s3://b?endpoint=%00", "digits");
    require_invalid("rados://p?timeout=0", "timeout is a number from 1");
    require_invalid("rados://p?user=admin", "client.lagan");
    require_invalid("rados://p?part_mib=5", "unknown option");
    const auto error = error_of([] { parse_store_url("s3://key:secret@bucket?endpoint=http://h"); });
    BOOST_REQUIRE(error);
    BOOST_TEST(contains(error->what(), "credentials do not belong"));
    BOOST_TEST(!contains(error->what(), "secret@"));
}

BOOST_AUTO_TEST_CASE(credentials_come_from_a_private_file_or_the_environment) {
    const BaselineScratch scratch;
    const fs::path file = scratch.path / "keys";
    const auto with = [&](const std::string& text,
                          fs::perms mode = fs::perms::owner_read | fs::perms::owner_write) {
        std::ofstream(file, std::ios::trunc) << text;
        fs::permissions(file, mode);
        return load_credentials(file);
    };
    S3Credentials keys = with("# mine\n\naccess_key = A=B\r\n secret_key=S/+=\nsession_token = T\n");
    BOOST_TEST(keys.access_key == "A=B");
    BOOST_TEST(keys.secret_key == "S/+=");
    BOOST_TEST(keys.session_token == "T");
    keys = with("[default]\naws_access_key_id = A\naws_secret_access_key = S");
    BOOST_TEST(keys.access_key == "A");
    BOOST_TEST(keys.secret_key == "S");
    require_error(
        [&] { with("access_key = A\nsecret_key = S\n", fs::perms::owner_read | fs::perms::group_read); },
        ErrorKind::refused, "chmod 600");
    require_error([&] { with("access_key = A\n"); }, ErrorKind::invalid, "needs access_key");
    require_error([&] { with("access_key = A\nhunter2\n"); }, ErrorKind::invalid, "line 2");
    BOOST_TEST(!contains(error_of([&] { with("access_key = A\nhunter2\n"); })->what(), "hunter2"));
    require_error([&] { with(std::string(20000, '#')); }, ErrorKind::invalid, "too long");
    require_error([&] { load_credentials(scratch.path / "none"); }, ErrorKind::missing, "none");
    require_error([&] { load_credentials(scratch.path); }, ErrorKind::refused, "regular");
    unsetenv("AWS_ACCESS_KEY_ID");
    require_error([&] { load_credentials(""); }, ErrorKind::refused, "AWS_ACCESS_KEY_ID");
    setenv("AWS_ACCESS_KEY_ID", "E", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "F", 1);
    BOOST_TEST(load_credentials("").access_key == "E");
    BOOST_TEST(load_credentials("").secret_key == "F");
}

BOOST_AUTO_TEST_CASE(answers_that_are_no_xml_are_errors) {
    std::mt19937_64 random = seeded_random();
    const std::string good =
        "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><IsTruncated>true</IsTruncated>"
        "<NextContinuationToken>t&amp;u</NextContinuationToken><Contents><Key>a/b</Key></Contents>"
        "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>";
    const XmlListing listing = xml_listing(good);
    BOOST_TEST(listing.keys == std::vector<std::string>{"a/b"}, boost::test_tools::per_element());
    BOOST_TEST(listing.prefixes == std::vector<std::string>{"p/"}, boost::test_tools::per_element());
    BOOST_TEST(listing.next == "t&u");
    BOOST_TEST(xml_error("<Error><Code>NoSuchKey</Code></Error>").code == "NoSuchKey");
    BOOST_TEST(xml_error("<html>").code == "");
    BOOST_TEST(xml_error("").code == "");
    require_error([] { xml_listing("bad gateway"); }, ErrorKind::unavailable, "no XML");
    for (int i = 0; i < 20000; ++i) {  // nothing but an answer or an error
        std::string bad = good.substr(0, random() % 10 == 0 ? random() % good.size() : good.size());
        for (uint64_t n = random() % 4; n > 0 && !bad.empty(); --n)
            bad[random() % bad.size()] = static_cast<char>(random());
        error_of([&] { xml_listing(bad); });
        error_of([&] { xml_uploads(bad); });
        xml_error(bad);
    }
}
