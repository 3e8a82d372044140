#include "shared.h"

#include <cstring>
#include <iostream>
#include <mutex>
#include <thread>

static traced main_static("main static");
extern "C" int each(int (*f)(int, void *), void *context, int n);


static int twice(int n) { return 2 * n; }

static int throwing(int n, void *context)
{
    traced t("callback's");
    if (n == *static_cast<int *>(context))
        throw error_with_key(n);
    return n;
}

static void exceptions()
{
    for (int kind = 0; kind < 10; kind++) {
        try {
            std::cout << kind << ' ' << through(kind) << std::endl;
        } catch (const error_with_key &e) {
            std::cout << "with key " << e.code << ' ' << e.counted.use_count() << std::endl;
        } catch (const std::runtime_error &e) {
            std::cout << e.what() << ' ' << dynamic_cast<const error &>(e).code << std::endl;
        } catch (const error_of<std::string> &e) {
            std::cout << e.value << std::endl;
        } catch (...) {
            std::cout << "other" << std::endl;
        }
    }
    try { cleanup_then_fail(5); } catch (error_of<std::string> e) { std::cout << e.value << std::endl; }
    std::vector<int> v = {5, 3, 9, 1, 7, 20, 12, 4};
    std::cout << sum_sorted(v, 1000) << std::endl;
    try { sum_sorted(v, 9); } catch (const error &e) { std::cout << "sort: " << e.what() << std::endl; }
    int a[] = {5, 3, 9, 1, 7};
    std::cout << sum_qsorted(a, 5, 1000) << std::endl;
    try { sum_qsorted(a, 5, 9); } catch (const error &e) { std::cout << "qsort: " << e.what() << std::endl; }
    int stop = 1000;
    std::cout << each(throwing, &stop, 3) << std::endl;
    stop = 2;
    try { each(throwing, &stop, 5); } catch (const error_with_key &e) { std::cout << "each: " << e.what() << std::endl; }
    std::cout << guarded() << std::uncaught_exceptions() << std::endl;
    try { in_thread([] { cleanup_then_fail(1); }); } catch (const error_of<std::string> &e) { std::cout << "thread: " << e.value << std::endl; }
    try {
        try { fail(0); } catch (...) { std::throw_with_nested(error_with_key(50)); }
    } catch (const error &e) {
        try { std::rethrow_if_nested(e); } catch (const error &inner) { std::cout << e.code << ' ' << inner.code << std::endl; }
    }
}

static void types()
{
    std::unique_ptr<shape> s = make_square(4);
    named *n = as_named(s.get());
    std::cout << s->name() << s->area() << n->label() << n->n << (as_shape(n) == s.get()) << std::endl;
    std::cout << dynamic_cast<square *>(n)->side << (dynamic_cast<plain *>(n) == nullptr) << typeid(*n).name() << std::endl;
    std::unique_ptr<shape> copy(s->clone());
    const shape &original = *copy;
    std::cout << (s.get()->*area_of())() << (typeid(original) == type_of(1)) << (typeid(plain) == type_of(0)) << (typeid(error_of<int>) == type_of(2))
              << (typeid(std::string) == type_of(3)) << (typeid(int (*)(shape &)) == type_of(4)) << (typeid(int) == type_of(4)) << std::endl;
    plain p;
    std::cout << as_shape(&p) << p.label() << typeid(p).before(typeid(original)) << std::endl;
    try { (void)dynamic_cast<plain &>(*copy); } catch (const std::bad_cast &e) { std::cout << e.what() << std::endl; }
}

static void ones()
{
    std::cout << bump() << bump() << counter << ' ' << registry<int>::count << ' ' << registry<double>::count << ' ' << registry<int>::names.size()
              << ' ' << variable_template<long> << ' ' << next() << ' ' << per_thread << ' ' << local_static().name << std::endl;
    std::cout << (address_of_next() == base_address_of_next()) << (address_of_next() == middle_address_of_next()) << std::endl;
    std::cout << apply(twice, 20) << apply([&](int k) { return k + counter; }, 1) << std::endl;
}

static void threads()
{
    std::mutex lock;
    std::once_flag once;
    int calls = 0;
    thread_text += "!";
    std::cout << thread_object.name << std::endl;
    for (int i = 0; i < 3; i++)
        in_thread([&] {
            std::call_once(once, [&] { calls++; });
            bump();
            std::cout << thread_object.name << thread_text.size() << ' ' << per_thread << std::endl;
        });
    std::vector<std::thread> team;
    for (int i = 0; i < 4; i++)
        team.emplace_back([&] {
            for (int k = 0; k < 200; k++) {
                try {
                    throw error_with_key(k);
                } catch (const error &e) {
                    std::lock_guard<std::mutex> held(lock);
                    calls += e.code & 1;
                }
            }
        });
    for (std::thread &t : team)
        t.join();
    std::cout << calls << thread_text.size() << std::endl;
}

static void goodbye() { std::puts("atexit"); }

int main(int argc, char **argv)
{
    std::atexit(goodbye);
    exceptions();
    types();
    ones();
    threads();
    std::set_terminate([] {
        std::puts("terminate");
        std::fflush(nullptr);
        std::_Exit(9);
    });
    if (argc > 1 && !std::strcmp(argv[1], "terminate"))
        fail(0);
    if (argc > 1 && !std::strcmp(argv[1], "exit"))
        in_thread([] { std::exit(4); });
    return 6;
}
