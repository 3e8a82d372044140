#include "shared.h"

#include <thread>

traced base_object("base");
thread_local traced thread_object("thread");
thread_local std::string thread_text = "text of a thread, long enough to be allocated";
static traced base_static("base static");

shape::~shape() { std::puts("~shape"); }
error_with_key::~error_with_key() = default;

void fail(int kind)
{
    traced t("fail's");
    switch (kind) {
    case 0: throw error(kind);
    case 1: throw error_with_key(kind);
    case 2: throw error_of<int>{42};
    case 3: throw error_of<std::string>{"forty-two"};
    case 4: throw "text";
    case 5: throw std::out_of_range("range");
    case 6: std::vector<int>(3).at(static_cast<std::size_t>(kind)); break;
    case 7: std::rethrow_exception(std::make_exception_ptr(error(7)));
    case 8: throw &base_object;
    default: break;
    }
}

std::unique_ptr<shape> make_square(int side) { return std::make_unique<square>(side); }
int apply(int (*f)(int), int n) { return f(n) + 1; }
int apply(const std::function<int(int)> &f, int n) { return f(n) + 2; }

std::string bump()
{
    counter++;
    per_thread++;
    registry<int>::count++;
    registry<double>::count += 2;
    registry<int>::names.push_back("base");
    variable_template<long> += 3;
    next()++;
    return local_static().name;
}

const std::type_info &type_of(int kind)
{
    static const std::type_info *const types[] = {&typeid(plain), &typeid(square), &typeid(error_of<int>), &typeid(std::string),
                                                  &typeid(int (*)(shape &))};
    return *types[kind];
}
const void *base_address_of_next() { return address_of_next(); }
int (shape::*area_of())() const { return &shape::area; }

void in_thread(const std::function<void()> &f)
{
    std::exception_ptr caught;
    std::thread([&] {
        try {
            f();
        } catch (...) {
            caught = std::current_exception();
        }
    }).join();
    if (caught)
        std::rethrow_exception(caught);
}
