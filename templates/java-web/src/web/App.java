package web;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Executors;

/** A greeter: GET / is a page, GET /?name=NAME greets by name. */
public class App {
    private static final int PORT = 8080;

    public static void main(String[] arguments) throws IOException {
        String template = readPage();
        HttpServer server = HttpServer.create(new InetSocketAddress(PORT), 0);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", exchange -> {
            boolean known = exchange.getRequestURI().getPath().equals("/");
            String body = known ? Greeting.of(readName(exchange)).page(template) : "not found\n";
            answer(exchange, known ? 200 : 404, known ? "text/html" : "text/plain", body);
        });
        server.createContext("/healthz", exchange -> answer(exchange, 200, "text/plain", "ok\n"));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> server.stop(1)));
        server.start();
        System.out.println("listening on port " + PORT);
    }

    private static String readPage() throws IOException {
        try (InputStream page = App.class.getResourceAsStream("page.html")) {
            return new String(page.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    private static String readName(HttpExchange exchange) {
        String query = exchange.getRequestURI().getRawQuery();
        String name = query != null && query.startsWith("name=") ? query.substring("name=".length()) : "";
        return URLDecoder.decode(name, StandardCharsets.UTF_8);
    }

    private static void answer(HttpExchange exchange, int status, String kind, String text) throws IOException {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", kind + "; charset=utf-8");
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }
}
