#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
struct A {
    virtual int a(int x)
    {
        return x;
    }
    virtual ~A()
    {
    }
    int p = 1;
};
struct B {
    virtual int b(int x, ...)
    {
        return x + 1;
    }
    virtual ~B()
    {
    }
    int q = 2;
};
struct C : A, B {
    int a(int x) override
    {
        return x * 2 + p;
    }
    int b(int x, ...) override
    {
        va_list l;
        va_start(l, x);
        int s = q;
        for (int i = 0; i < x; i++)
            s += va_arg(l, int);
        va_end(l);
        return s;
    }
};
struct V : virtual A, virtual B {
    int a(int x) override
    {
        return x + q;
    }
};
struct D {
    const char *n;
    D(const char *n) : n(n)
    {
    }
    ~D()
    {
        std::cout << "~" << n << "\n";
    }
};
__attribute__((noinline)) int thrower(int k)
{
    D d("thrower");
    if (k % 3 == 0)
        throw std::runtime_error("three");
    if (k % 3 == 1)
        throw k;
    return k;
}
int cmp(const void *a, const void *b)
{
    return *(const int *)a < *(const int *)b ? -1 : *(const int *)a > *(const int *)b;
}
int main()
{
    B *b = new C;
    std::cout << b->b(3, 1, 2, 3) << "\n";
    V v;
    B &vb = v;
    A &va = v;
    std::cout << va.a(4) << vb.b(3) << "\n";
    for (int i = 0; i < 6; i++)
        try {
            D x("x");
            std::cout << thrower(i) << "\n";
        } catch (int e) {
            std::cout << "int " << e << "\n";
        } catch (std::exception &e) {
            std::cout << e.what() << "\n";
        }
    int arr[500];
    for (int i = 0; i < 500; i++)
        arr[i] = rand() % 1000;
    qsort(arr, 500, sizeof(int), cmp);
    std::cout << arr[0] << arr[499] << "\n";
    std::map<std::string, int> m;
    for (int i = 0; i < 100; i++)
        m[std::to_string(i * 7 % 13)] += i;
    for (auto &p : m)
        std::cout << p.first << "=" << p.second << " ";
    std::vector<std::function<int(int)>> f;
    for (int i = 0; i < 4; i++)
        f.push_back([i](int x) { return x * i; });
    int s = 0;
    for (auto &g : f)
        s += g(3);
    std::cout << s << "\n";
    std::thread t([&] {
        try {
            thrower(3);
        } catch (std::exception &e) {
            s = 77;
        }
    });
    t.join();
    std::cout << s << "\n";
    delete b;
    return 0;
}
