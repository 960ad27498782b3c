package web;

/** The greeting of a visitor. */
record Greeting(String text) {
    /** Greet by name; an empty name is the world. */
    static Greeting of(String name) {
        return new Greeting("Hello, " + (name.isBlank() ? "world" : name.strip()) + "!");
    }

    /** The page with the greeting, escaped. */
    String page(String template) {
        String escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;");
        return template.replace("{{ text }}", escaped);
    }
}
