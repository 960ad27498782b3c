package web;

/** Tests without a library: each prints its name, the first failure ends the program with exit code 1. */
public class GreetingTest {
    public static void main(String[] arguments) {
        check("visitors are greeted by name", Greeting.of(" Ada ").text(), "Hello, Ada!");
        check("an empty name is the world", Greeting.of("").text(), "Hello, world!");
        check("names are escaped", Greeting.of("<b>").page("{{ text }}"), "Hello, &lt;b&gt;!");
    }

    private static void check(String name, String found, String expected) {
        if (!found.equals(expected)) {
            throw new AssertionError(name + ": expected " + expected + ", got " + found);
        }
        System.out.println("ok: " + name);
    }
}
