package org.apache.hadoop.hive.common.auth;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.List;
import org.apache.thrift.transport.TServerSocket;
import org.apache.thrift.transport.TTransportException;

/**
 * Takes the place of the metastore's own class of this name, which listens on all addresses: Hive 2 has no setting
 * for it. This one listens on 127.0.0.1. Only the metastore has it on its class path.
 */
public final class HiveAuthUtils {
  private HiveAuthUtils() {}

  public static TServerSocket getServerSocket(String host, int port) throws TTransportException {
    return new TServerSocket(new InetSocketAddress(InetAddress.getLoopbackAddress(), port));
  }

  public static TServerSocket getServerSSLSocket(
      String host, int port, String keyStore, String password, List<String> protocolsRefused) {
    throw new UnsupportedOperationException("the metastore of the tests has no TLS");
  }
}
