//go:build engines

package postgres

import (
	"crypto/tls"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestVanishedServerIsNoticed(t *testing.T) {
	db := open(t, engine(t), Options{})
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Raw(func(driver any) error {
		secure, ok := driver.(*conn).Conn.Conn().PgConn().Conn().(*tls.Conn)
		if !ok {
			t.Fatal("not over TLS")
		}
		raw, err := secure.NetConn().(*net.TCPConn).SyscallConn()
		if err != nil {
			return err
		}
		return raw.Control(func(fd uintptr) {
			if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || got != int(userTimeout.Milliseconds()) {
				t.Errorf("TCP_USER_TIMEOUT is %d, %v", got, err)
			}
			if got, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE); err != nil || got == 0 {
				t.Errorf("SO_KEEPALIVE is %d, %v", got, err)
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}
