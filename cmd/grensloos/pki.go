package main

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/grensloos/grensloos/certs"
	"github.com/grensloos/grensloos/gateway"
)

// pkiCommand makes and maintains a development PKI.
func pkiCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pki",
		Short: "Make certificates for development: a root, an intermediate, peers, revocation lists",
		Long: `Make certificates for development: a root, an intermediate, peers, revocation lists.

In production a group trusts PKIoverheid (or Vault) and none of this is used. The keys are plain files of mode 0600.

  grensloos pki init   --dir pki --name "Region Twente"
  grensloos pki issue  --dir pki --oin 00000099000000147000 --name "Gemeente Borne" --host borne.example --ip 127.0.0.1
  grensloos pki revoke --dir pki pki/issued/00000099000000147000/cert.pem
  grensloos pki crl    --dir pki --next 168h

A peer also has a small CA of its own, for TLS on its own network:

  grensloos pki init  --dir intern --intern --name "Gemeente Borne"
  grensloos pki issue --dir intern --intern --host localhost --ip 127.0.0.1

When the roles of a peer run apart, each process has a certificate of that CA that names its role (docs/roles.md):

  grensloos pki issue --dir intern --intern --rol inway --oin 00000099000000147000 --host inway.borne.intern --out rollen/inway`,
		Args: cobra.NoArgs,
	}
	var dir string
	cmd.PersistentFlags().StringVar(&dir, "dir", "pki", "folder of the PKI")
	cmd.AddCommand(pkiInit(&dir), pkiIssue(&dir), pkiRevoke(&dir), pkiCRL(&dir))
	return cmd
}

func pkiInit(dir *string) *cobra.Command {
	var o certs.InitOptions
	var key string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the root, the intermediate and their first CRLs",
		Long: `Make the root, the intermediate and their first CRLs.

Give root.pem to every peer of the group as its trust anchor (ankers), and both CRL files as crls. A folder that already has a PKI
is left alone, unless --force: then everything that was issued from it stops being trusted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.KeyType = certs.KeyType(key)
			if err := certs.InitPKI(*dir, o); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			_, _ = fmt.Fprintf(out, "PKI made in %s\n", *dir)
			_, _ = fmt.Fprintf(out, "trust anchor  %s\n", filepath.Join(*dir, certs.RootFile))
			_, err := fmt.Fprintf(out, "CRLs          %s %s (hold %d days; renew with `grensloos pki crl`)\n",
				filepath.Join(*dir, certs.RootCRLFile), filepath.Join(*dir, certs.IntermediateCRLFile), int(certs.DefaultCRLNext.Hours()/24))
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Name, "name", "", "name of the group or organisation, for the names of the CAs (default \"Grensloos development\")")
	flags.IntVar(&o.Days, "days", certs.DefaultCADays, "how long root and intermediate are valid")
	flags.StringVar(&key, "key", string(certs.ECDSAP256), "kind of key: ecdsa-p256 or rsa-3072")
	flags.BoolVar(&o.Internal, "intern", false, "a CA for a peer's own network: its certificates name hosts and no peer")
	flags.BoolVar(&o.Force, "force", false, "replace the PKI that is in the folder")
	return cmd
}

func pkiIssue(dir *string) *cobra.Command {
	var r certs.Request
	var oin, key string
	var ips []net.IP
	var roles []string
	cmd := &cobra.Command{
		Use:   "issue",
		Short: "Issue a certificate to a peer, or with --intern to a host of the own network",
		Long: `Issue a certificate to a peer, or with --intern to a host of the own network.

Writes cert.pem (the certificate and its intermediate) and key.pem into --out. The certificate of a peer has its OIN in the subject's
serialNumber and its name in O, serves as client and as server, and is good for manager, inway and outway alike: name every host and
address on which these are reached. Test OINs start with 00000099.

To renew, give the same --out with --reuse-key: contracts that name the key of the outway stay good.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.OIN, r.KeyType, r.IPs = gateway.PeerID(oin), certs.KeyType(key), ips
			for _, role := range roles {
				if !slices.Contains(serveRoles(), certs.Role(role)) {
					return usage("--rol %q: give one of %s", role, joinRoles(serveRoles()))
				}
				r.Roles = append(r.Roles, certs.Role(role))
			}
			made, err := certs.Issue(*dir, r)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "certificate  %s\nkey          %s\nserial       %s\nvalid until  %s\n",
				made.CertFile, made.KeyFile, made.Serial, made.NotAfter.UTC().Format(time.DateOnly))
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&oin, "oin", "", "OIN of the peer, 20 digits")
	flags.StringVar(&r.Name, "name", "", "name of the organisation")
	flags.StringSliceVar(&r.Hosts, "host", nil, "DNS name under which the peer is reached; may be repeated")
	flags.IPSliceVar(&ips, "ip", nil, "IP address at which the peer is reached; may be repeated")
	flags.StringVar(&r.Out, "out", "", "folder for cert.pem and key.pem (default issued/<OIN or host> in the folder of the PKI)")
	flags.IntVar(&r.Days, "days", certs.DefaultLeafDays, "how long the certificate is valid")
	flags.StringVar(&key, "key", string(certs.ECDSAP256), "kind of key: ecdsa-p256 or rsa-3072")
	flags.BoolVar(&r.ReuseKey, "reuse-key", false, "renew: certify the key.pem that is in --out")
	flags.BoolVar(&r.Internal, "intern", false, "a certificate for a peer's own network, without OIN unless it names roles")
	flags.StringSliceVar(&roles, "rol", nil, "with --intern and --oin: the role that the holder runs, such as inway; may be repeated")
	flags.BoolVar(&r.Force, "force", false, "overwrite cert.pem and key.pem")
	return cmd
}

func pkiRevoke(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke CERTIFICATE|SERIAL",
		Short: "Revoke a certificate and write new CRLs",
		Long: `Revoke a certificate, named by its file or its serial number in hexadecimal, and write new CRLs.

Running peers that read the CRL files of this folder refuse it on the next request and close its open connections. There is no way
back: issue a new certificate.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := certs.Revoke(*dir, args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "revoked; new CRLs in %s\n", *dir)
			return err
		},
	}
}

func pkiCRL(dir *string) *cobra.Command {
	var next time.Duration
	cmd := &cobra.Command{
		Use:   "crl",
		Short: "Write new CRLs",
		Long: `Write new CRLs of the root and the intermediate.

Once a CRL is past its nextUpdate, peers refuse every certificate of its issuer: nobody can tell any more who was revoked.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := certs.CRL(*dir, next); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "CRLs written to %s; they hold for %s\n", *dir, next)
			return err
		},
	}
	cmd.Flags().DurationVar(&next, "next", certs.DefaultCRLNext, "how long the CRLs hold")
	return cmd
}
