#!/usr/bin/env python3
"""Samples for check_coroutines.py. Lint runs it: python3 tools/check_coroutines_test.py."""
import unittest

from check_coroutines import problems_in

BAD = {
    "an aggregate as argument": "Task<void> f() { co_await read({user, 1}); }",
    "a named aggregate": "Task<void> f() { const auto r = co_await read(Query{user, 1}); }",
    "empty braces": "Task<void> f() { co_await read(user, {}); }",
    "a designated field": "Task<void> f() { co_await read(Query{.user = user}); }",
    "deep in a call": "Task<void> f() { co_await read(std::move(q), make(1, std::vector{1, 2})); }",
    "beside it, before": "Task<void> f() { keep(Row{user}, co_await read(user)); }",
    "beside it, behind": "Task<void> f() { keep(co_await read(user), Row{user}); }",
    "around it": "Task<Row> f() { co_return Row{user, co_await read(user)}; }",
    "a variable made by braces": "Task<void> f() { Row row{co_await read(user)}; }",
    "in a macro": "Task<void> f() { CO_TRY_ASSIGN(const Row row, co_await read({user})); }",
    "in a condition": "Task<void> f() { if (co_await read({user}) == 1) co_return; }",
    "in a loop's head": "Task<void> f() { while (co_await next(Row{user})) { go(); } }",
    "in one part of for": "Task<void> f() { for (int i = 0; i < co_await size({1}); ++i) go(); }",
    "a lambda": "Task<void> f() { co_await offload(pool, [] { return 1; }); }",
    "a lambda with parameters and a type": "Task<void> f() { co_await call([&](int a) mutable -> int { return a; }, 1); }",
    "over several lines": "Task<void> f() {\n  co_await read(\n      user,\n      {\n          1,\n      });\n}",
    "a conditional": "Task<void> f() { x = ok ? co_await read(user) : Row{}; }",
    "within a lambda's body": "void f() { spawn([](Host& host) -> Task<void> { co_await read({host.user}); }(*this)); }",
    "behind a comment and a string with braces": 'Task<void> f() { /* } */ log("}{"); co_await read({user}); }',
}
GOOD = {
    "a name": "Task<void> f() { Query q{user, 1}; co_await read(std::move(q)); }",
    "a constructor": "Task<void> f() { co_await read(Query(user, 1), UserId(user)); }",
    "another statement": "Task<void> f() { keep({1}); co_await read(user); keep({2}); }",
    "a block behind a condition": "Task<void> f() { if (co_await read(user)) { go({1}); } else { go({2}); } }",
    "a block before": "Task<void> f() { if (x) { go({1}); } co_await read(user); }",
    "the head of a loop over braces": "Task<void> f() { for (int x : {1, 2}) { co_await read(x); } }",
    "for with parts": "Task<void> f() { for (auto [a, b] = pair(); a < b; ++a) co_await read(rows[a].name); }",
    "a subscript": "Task<void> f() { co_await read(rows[i], names()[0]); }",
    "a structured binding": "Task<void> f() { auto [a, b] = co_await read(user); const auto& [c, d] = co_await read(user); }",
    "a lambda that is a coroutine": "void f() { spawn([](Host& host) -> Task<void> { co_await read(host.user); }(*this)); }",
    "a lambda with a name": "Task<void> f() { auto run = [] { return Row{1}; }; co_await offload(pool, std::move(run)); }",
    "a lambda with a name and braces in its statement": "Task<void> f() { auto run = [a = Row{1}] { return a; }; co_await offload(pool, run); }",
    "functions and classes": "struct A { int x{1}; Task<void> f() const { co_await g(); } std::vector<int> y{1, 2}; };",
    "a constructor's list": "A::A(int x) : x_(x), y_{1} { go(); }\nTask<void> f() { co_await g(); }",
    "a case": "Task<void> f() { switch (x) { case 1: { Row r{1}; co_await read(std::move(r)); break; } default: co_await g(); } }",
    "an attribute": "Task<void> f() { [[maybe_unused]] auto x = co_await g(); }",
    "its operator": "auto operator co_await() && noexcept { return Awaiter{state}; }",
    "in comments and strings": 'void f() { go({1}, "co_await"); /* co_await */ go({2}); // co_await {\n}',
    "in the preprocessor": "#define CO_TRY(x) \\\n  if (auto s = co_await (x); true) co_return Row{1};\nvoid f() { go({1}); }",
    "a raw string": 'void f() { go(R"({"co_await"})"); }',
    "separated digits": "Task<void> f() { go(1'000, {2}); co_await g(1'000); }",
}


class CheckCoroutinesTest(unittest.TestCase):
    def test_refuses(self):
        for name, text in BAD.items():
            with self.subTest(name):
                self.assertEqual(len(problems_in(text)), 1, text)

    def test_lets_pass(self):
        for name, text in GOOD.items():
            with self.subTest(name):
                self.assertEqual(problems_in(text), [], text)

    def test_names_the_line_of_the_braces(self):
        self.assertEqual(problems_in("\n\nTask<void> f() {\n  co_await read(\n      {1});\n}"), [(5, "braces")])


if __name__ == "__main__":
    unittest.main()
