import java.net.HttpURLConnection;
import java.net.URI;
import java.util.ArrayList;
import java.util.List;

/** Given two ports: opens connections to both, forgets those to the first, and closes those to the second. */
final class OrderClient {
    private static final List<HttpURLConnection> KEPT = new ArrayList<>();

    public static void main(String[] ports) throws Exception {
        System.out.println("0 0");
        while (true) {
            fetch(Integer.parseInt(ports[0]));
            fetchAndClose(Integer.parseInt(ports[1]));
            Thread.sleep(50);
        }
    }

    private static void fetch(int port) throws Exception {
        HttpURLConnection connection = open(port);
        connection.connect();
        KEPT.add(connection);
    }

    private static void fetchAndClose(int port) throws Exception {
        HttpURLConnection connection = open(port);
        connection.connect();
        connection.disconnect();
    }

    private static HttpURLConnection open(int port) throws Exception {
        return (HttpURLConnection) URI.create("http://127.0.0.1:" + port + "/").toURL().openConnection();
    }
}
