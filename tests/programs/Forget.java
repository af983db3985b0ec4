import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

/** Prints its port, accepts, and forgets to close: after reading to the end (read-all), or without reading. */
final class Forget {
    public static void main(String[] arguments) throws Exception {
        boolean reads = arguments[0].equals("read-all");
        List<Socket> kept = new ArrayList<>();
        try (ServerSocket listener = new ServerSocket(0, 128, InetAddress.getByName("127.0.0.1"))) {
            System.out.println(listener.getLocalPort());
            while (true) {
                Socket connection = listener.accept();
                kept.add(connection);
                if (reads) {
                    Thread reader = new Thread(() -> readAll(connection));
                    reader.setDaemon(true);
                    reader.start();
                }
            }
        }
    }

    private static void readAll(Socket connection) {
        try {
            connection.getInputStream().readAllBytes();
        } catch (IOException reset) {
            System.err.println(reset);
        }
    }
}
