// C++'s library: streams, containers, regex, locale, threads, exceptions, chrono, filesystem, format of numbers.
#include <algorithm>
#include <any>
#include <atomic>
#include <cmath>
#include <complex>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <list>
#include <locale>
#include <map>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <numeric>
#include <optional>
#include <queue>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <typeindex>
#include <unordered_map>
#include <valarray>
#include <variant>
#include <vector>

struct counted {
    static std::atomic<int> alive; // threads throw them
    counted() { alive++; }
    counted(const counted &) { alive++; }
    ~counted() { alive--; }
};
std::atomic<int> counted::alive;
static int argument;

struct failure : std::runtime_error {
    counted c;
    int code;
    failure(int n) : std::runtime_error("failure " + std::to_string(n)), code(n) {}
};

static void deep(int n)
{
    counted c;
    if (!n)
        throw failure(7);
    try {
        deep(n - 1);
    } catch (const std::logic_error &) {
        std::cout << "wrong handler\n";
    }
}

static void exceptions()
{
    try {
        deep(20);
    } catch (const std::exception &e) {
        std::cout << e.what() << ' ' << typeid(e).name() << ' ' << dynamic_cast<const failure &>(e).code << ' ' << counted::alive << '\n';
    }
    std::cout << counted::alive << '\n';
    try { std::vector<int>().at(3); } catch (const std::out_of_range &e) { std::cout << e.what() << '\n'; }
    try { std::stoi("x"); } catch (const std::invalid_argument &e) { std::cout << e.what() << '\n'; }
    try { std::any_cast<int>(std::any(2.0)); } catch (const std::bad_any_cast &e) { std::cout << e.what() << '\n'; }
    try { (void)std::get<0>(std::variant<int, char>('x')); } catch (const std::exception &e) { std::cout << e.what() << '\n'; }
    try { throw std::system_error(2, std::generic_category(), "open"); } catch (const std::system_error &e) { std::cout << e.what() << ' ' << e.code() << '\n'; }
    try { (void)new char[std::vector<char>().max_size() - static_cast<std::size_t>(argument)]; } catch (const std::bad_alloc &e) { std::cout << e.what() << '\n'; }
    try { std::ifstream f("/no/such"); f.exceptions(std::ios::failbit); } catch (const std::ios_base::failure &e) { std::cout << e.code().value() << '\n'; }
    try { throw 5; } catch (...) { auto p = std::current_exception(); try { std::rethrow_exception(p); } catch (int i) { std::cout << i << '\n'; } }
    try { try { throw failure(1); } catch (...) { std::throw_with_nested(failure(2)); } }
    catch (const failure &e) { try { std::rethrow_if_nested(e); } catch (const failure &f) { std::cout << e.code << f.code << '\n'; } }
}

static void containers()
{
    std::map<std::string, std::vector<int>> m;
    for (int i = 0; i < 200; i++)
        m[std::to_string(i * i % 17)].push_back(i);
    for (auto &[key, values] : m)
        std::cout << key << ':' << std::accumulate(values.begin(), values.end(), 0) << ' ';
    std::unordered_map<std::string, int> u;
    for (int i = 0; i < 1000; i++)
        u["k" + std::to_string(i % 77)] += i;
    std::set<std::pair<int, std::string>> sorted;
    for (auto &[k, v] : u)
        sorted.emplace(v, k);
    std::cout << sorted.rbegin()->second << sorted.size() << '\n';
    std::deque<int> d;
    std::list<int> l;
    std::priority_queue<int> q;
    std::mt19937_64 random(42);
    for (int i = 0; i < 500; i++) {
        int x = static_cast<int>(random() % 1000);
        i % 2 ? d.push_back(x) : d.push_front(x);
        l.push_back(x);
        q.push(x);
    }
    l.sort(std::greater<>());
    std::stable_sort(d.begin(), d.end());
    std::cout << std::equal(d.rbegin(), d.rend(), l.begin()) << q.top() << '\n';
    std::pmr::monotonic_buffer_resource pool;
    std::pmr::vector<std::pmr::string> strings(&pool);
    strings.emplace_back("allocated from a pool, which is a long string");
    std::valarray<double> v = {1, 2, 3};
    std::complex<double> z = std::pow(std::complex<double>(1, 2), 3);
    std::cout << strings[0] << (v * v).sum() << z << std::tgamma(4.5) << std::hypot(3., 4., 12.) << '\n';
}

static void text()
{
    std::regex words("([a-z]+)@([a-z.]+)", std::regex::icase);
    std::string s = "Mail Joe@example.org, ann@mail.net or nobody.";
    for (std::sregex_iterator i(s.begin(), s.end(), words), end; i != end; ++i)
        std::cout << (*i)[1] << " at " << (*i)[2] << ' ';
    std::cout << std::regex_replace(s, words, "<$2>") << '\n';
    try { std::regex bad("("); } catch (const std::regex_error &e) { std::cout << e.code() << '\n'; }
    std::ostringstream o;
    o << std::hex << std::showbase << 255 << std::setw(12) << std::setfill('*') << std::setprecision(3) << std::fixed << 3.14159
      << std::boolalpha << true << std::quoted("a \"b\"") << std::scientific << 12345.678 << std::put_money(1234);
    std::istringstream in("17 0x1f 2.5e3 word rest of line");
    int a;
    std::string hex, w, rest;
    double f;
    in >> a >> hex >> f >> w;
    std::getline(in, rest);
    std::cout << o.str() << a << hex << f << w << rest << '\n';
    struct comma : std::numpunct<char> {
        char do_thousands_sep() const override { return '\''; }
        std::string do_grouping() const override { return "\3"; }
    };
    std::locale own(std::locale::classic(), new comma);
    std::stringstream l;
    l.imbue(own);
    l << 1234567 << ' ' << std::use_facet<std::ctype<char>>(own).toupper('x') << std::has_facet<std::messages<wchar_t>>(own);
    std::cout << l.str() << own.name() << '\n';
    try { std::locale("no_SUCH"); } catch (const std::runtime_error &e) { std::cout << e.what() << '\n'; }
    std::wostringstream wide;
    wide << L"wide " << 42 << L' ' << std::put_time(std::gmtime(&(const std::time_t &)std::time_t{86400}), L"%Y-%m-%d");
    std::wstring ws = wide.str();
    std::cout << std::string(ws.begin(), ws.end()) << '\n';
}

static thread_local struct local {
    int value = 1;
    static std::atomic<int> gone;
    ~local() { gone += value; }
} per_thread;
std::atomic<int> local::gone;

static void threads()
{
    std::mutex lock;
    std::condition_variable changed;
    int turn = 0;
    std::vector<int> order;
    std::vector<std::thread> team;
    for (int i = 0; i < 4; i++)
        team.emplace_back([&, i] {
            per_thread.value += i;
            for (int j = 0; j < 5; j++) {
                std::unique_lock held(lock);
                changed.wait(held, [&] { return turn % 4 == i; });
                order.push_back(i);
                turn++;
                changed.notify_all();
            }
            try { deep(5); } catch (const failure &e) { std::lock_guard held(lock); turn += e.code == 7 ? 0 : 1; }
        });
    for (auto &t : team)
        t.join();
    for (int n : order)
        std::cout << n;
    auto f = std::async(std::launch::async, [] { throw failure(9); return 1; });
    try { f.get(); } catch (const failure &e) { std::cout << ' ' << e.what() << ' ' << local::gone << '\n'; }
    std::once_flag once;
    for (int i = 0; i < 3; i++)
        std::call_once(once, [] { std::cout << "once\n"; });
    std::promise<std::string> p;
    std::thread([&] { p.set_value("promised"); }).join();
    std::cout << p.get_future().get() << '\n';
}

static void files()
{
    namespace fs = std::filesystem;
    fs::create_directories("work/sub");
    std::ofstream("work/sub/f.txt") << "line one\nline two\n";
    std::ifstream in("work/sub/f.txt");
    std::cout << std::string(std::istreambuf_iterator<char>(in), {}) << fs::file_size("work/sub/f.txt") << '\n';
    for (auto &entry : fs::recursive_directory_iterator("work"))
        std::cout << entry.path() << entry.is_directory() << '\n';
    std::error_code e;
    fs::rename("work/none", "work/other", e);
    std::cout << e.message() << fs::path("/a/../b/./c").lexically_normal() << fs::remove_all("work") << '\n';
}

int main(int argc, char **)
{
    argument = argc;
    std::ios::sync_with_stdio(argc > 1);
    exceptions();
    containers();
    text();
    threads();
    files();
    std::function<int(int)> f = [&](int n) { return n < 2 ? 1 : n * f(n - 1); };
    std::shared_ptr<counted> p = std::make_shared<counted>();
    std::weak_ptr<counted> w = p;
    p.reset();
    std::cerr << f(10) << w.expired() << counted::alive << std::endl;
    std::clog << std::type_index(typeid(p)).name() << '\n';
    std::optional<int> nothing;
    return nothing.value_or(4);
}
