import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

/** Prints its port, accepts, and never closes. */
final class Leak {
    public static void main(String[] arguments) throws Exception {
        List<Socket> leaked = new ArrayList<>();
        try (ServerSocket listener = new ServerSocket(0, 128, InetAddress.getByName("127.0.0.1"))) {
            System.out.println(listener.getLocalPort());
            while (true) {
                leaked.add(listener.accept());
            }
        }
    }
}
